"""Forgetting a tenant: git, DVC with a remote, MLflow on sqlite, and a search of one's own for what is left."""

import shutil
import subprocess

import pytest
import torch

from components.data.dvc_objects import find_owned_objects
from components.errors import ConfigError, DataError, WorkspaceError
from components.model.prefix.prefix import Prefix
from components.registry.artifact import save_artifact
from components.rollout.store.database import open_database_url
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.observations import write_counts
from components.rollout.types import LedgerEntry, Observation
from components.stages import evaluate, gate, register, train
from components.stages.commands.forget import find_remains, forget
from components.stages.plan import plan
from components.stages.workspace import Workspace
from components.storage.timeouts import DatabaseTimeouts

pytestmark = pytest.mark.slow


def objects(folder):
    return {path.parent.name + path.name for path in folder.glob("files/md5/??/*")}


def serve(root, tenant):
    database = Workspace(root).database
    write_counts(database, [Observation(tenant=tenant, version="1", arm="champion", minute=1, latencies={3: 1})])
    save_feedback(
        database, Feedback(tenant=tenant, version="1", arm="champion", request="r", source="s", corrected="c")
    )
    keys = "prefixfleet_keys (id TEXT, tenant TEXT)"
    with database.transaction("as serving's keys do") as connection:
        connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {keys}")
        connection.exec_driver_sql(f"INSERT INTO prefixfleet_keys VALUES ('{tenant}', '{tenant}')")


def test_nothing_is_left_of_one_and_everything_of_the_others(make_checkout, write_tenant, run_in):
    root = make_checkout(("alder", "birch"))
    shutil.copy(root / "data/alder/test.jsonl", root / "data/birch/test.jsonl")  # one object of two tenants
    run_in(root, "dvc", "add", "-q", "data")
    run_in(root, "git", "commit", "-q", "-am", "share")
    write_tenant(root / "data", "alder", start=7)  # a later version, which no commit names
    run_in(root, "dvc", "add", "-q", "data")
    for stage in (train, evaluate, gate):
        stage.run(Workspace(root))
    place = Workspace(root)
    register.roll_out(place, register.register(place, plan(place).collect_fingerprints())[0], [])
    run_in(root, "dvc", "push", "-q")
    for tenant in ("alder", "birch"):
        serve(root, tenant)
        (root / "quarantine" / tenant).mkdir(parents=True)
        (root / "quarantine" / tenant / "train.jsonl").write_text("{}\n")
        (root / "var/tune" / tenant).mkdir(parents=True)
        (root / "overrides" / f"{tenant}.yaml").write_text("train: {prefix_length: 2}\n")
        digest = place.registry.find_champion(tenant).sha256
        place.registry.fetch(place.registry.find_champion(tenant), root / "var/champions" / digest)
    (root / "overrides/.alder.yaml.4711.0a1b2c3d.tmp").write_text("train: {")  # a write that was killed
    write_tenant(root / "drops", "alder")
    remote, cache = root.parent / "remote", root / ".dvc" / "cache"
    before = objects(remote)
    alone = set(find_owned_objects(root, "alder")["DVC remote local"])
    assert alone
    shared = subprocess.check_output(["md5sum", root / "data/birch/test.jsonl"], text=True).split()[0]
    assert shared in before - alone
    birch = {name: path.read_bytes() for path in (root / "data/birch").iterdir() for name in [path.name]}
    assert len(find_remains(Workspace(root), "alder")) > 10

    forget(Workspace(root), "alder", by="ada")

    assert find_remains(Workspace(root), "alder") == []
    # By means of this test's own: names, contents, objects.
    assert [path for path in root.rglob("*") if "alder" in path.name and ".git" not in path.parts] == []
    assert [path.name for path in (root / "overrides").glob("*.yaml")] == ["birch.yaml"]
    texts = b"".join(path.read_bytes() for path in (root / "out").glob("*/*") if path.is_file())
    assert b"alder" not in texts
    assert b"birch" in texts
    for store in (remote, cache):
        assert not objects(store) & alone
        assert shared in objects(store)
    assert before - alone <= objects(remote)
    assert b"alder" not in (root / "var/mlflow/mlflow.db").read_bytes()
    registry = Workspace(root).registry
    assert (registry.find_versions("alder"), registry.find_champion("birch").version) == ([], "1")
    assert not any("alder" in str(path) for path in (root / "var/mlflow/artifacts").rglob("*"))
    assert {name: (root / "data/birch" / name).read_bytes() for name in birch} == birch
    shutil.rmtree(root / "data")
    shutil.rmtree(cache)
    run_in(root, "dvc", "pull", "-q", "data.dvc")
    assert [path.name for path in (root / "data").iterdir()] == ["birch"]
    lines = read_history(Workspace(root).database, "alder")
    assert [(one.by, one.action) for one in lines] == [("retrain", "promote"), ("ada", "forget")]
    with Workspace(root).database.connect("birch's") as connection:
        assert connection.exec_driver_sql("SELECT tenant FROM prefixfleet_keys").scalars().all() == ["birch"]
    with pytest.raises(DataError, match="nothing anywhere"):
        forget(Workspace(root), "alder")

    forget(Workspace(root), "birch", by="ada")  # the last one
    assert find_remains(Workspace(root), "birch") == list((root / "data").iterdir()) == []


def test_a_tenant_that_params_names_is_not_forgotten(make_root, set_params):
    root = make_root(("alder", "birch"), tenants={"alder": {"gate": {"min_slice": 3}}})
    with pytest.raises(ConfigError, match=r"tenants\.alder"):
        forget(Workspace(root), "alder")
    set_params(root, tenants={"birch": {"train": {"shared": "alder"}}})
    with pytest.raises(ConfigError, match=r"train\.shared of birch"):
        forget(Workspace(root), "alder")


class Search:
    """A record that holds nothing, and notes at each search whether another machine could move the tenant now."""

    def __init__(self, place):
        self.database, self.free = open_database_url(place.database.url, DatabaseTimeouts(lock=1)), []

    def remove(self, tenant):
        pass

    def find_remains(self, tenant):
        try:
            with self.database.lock(tenant):
                self.free.append(True)
        except WorkspaceError:
            self.free.append(False)
        return []


def test_nobody_moves_a_tenant_between_the_last_search_and_the_ledger_s_line(make_checkout):
    place = Workspace(make_checkout(("cedar",)))
    append_entries(place.database, LedgerEntry(tenant="alder", by="retrain", action="promote", to_version="1"))
    search = Search(place)
    forget(place, "alder", by="ada", record=search)
    assert search.free == [True, False]


def test_what_an_interrupted_run_left_is_found_without_the_registry(make_checkout):
    """Copies of versions that MLflow knows no more, and a ledger that does not tell of the end."""
    place = Workspace(make_checkout(("cedar",)))
    prefix = Prefix.from_sites({"decoder.self": torch.zeros(1, 2, 1, 2, 4)})
    facts = {"base_name": "base", "base_digest": "b" * 64, "tokenizer_digest": "c" * 64, "dataset_version": "d" * 32}
    facts |= {"data_digest": "e" * 64, "train": {"prefix_length": 2}, "fingerprint": "f" * 64}
    for folder, tenant in (("prefixes/1", "alder"), ("champions/2", "alder"), ("prefixes/3", "birch")):
        save_artifact(place.root / "var" / folder, prefix, tenant=tenant, **facts)
    append_entries(place.database, LedgerEntry(tenant="alder", by="retrain", action="promote", to_version="1"))
    assert len(find_remains(place, "alder")) == 2

    forget(place, "alder", by="ada")

    assert [path.name for path in (place.root / "var").glob("[cp]*s/*")] == ["3"]
    assert [one.action for one in read_history(place.database, "alder")] == ["promote", "forget"]
    with pytest.raises(DataError, match="nothing anywhere"):
        forget(place, "alder")
    append_entries(place.database, LedgerEntry(tenant="birch", by="retrain", action="promote", to_version="1"))
    shutil.rmtree(place.root / "var/prefixes/3")
    forget(place, "birch", by="ada")  # stopped before its last line
    assert [one.action for one in read_history(place.database, "birch")] == ["promote", "forget"]
