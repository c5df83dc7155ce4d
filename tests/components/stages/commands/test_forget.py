"""Forgetting a tenant: in git, DVC with a remote, MLflow and the database; the first test searches by its own means."""

import shutil
import subprocess

import pytest
import torch
from waiting import wait_until

from components.data.dvc_objects import find_owned_objects
from components.errors import ConfigError, DataError, WorkspaceError
from components.model.prefix.prefix import Prefix
from components.registry.artifact import save_artifact
from components.rollout.store.database import open_database_url
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.observations import write_counts
from components.rollout.store.tuning_jobs import create_job
from components.rollout.store.uploaded_files import UploadedFile, add_file, list_files
from components.rollout.types import LedgerEntry, Observation
from components.stages import evaluate, gate, register, train
from components.stages.commands.forget import find_remains, forget
from components.stages.plan import plan
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace
from components.storage.timeouts import DatabaseTimeouts

pytestmark = pytest.mark.slow

STEPS = ("remove versions", "remove data", "remove files", "remove objects")
"""Spans of `forget` between its two searches."""


def list_objects(folder):
    return {path.parent.name + path.name for path in folder.glob("files/md5/??/*")}


def write_served_rows(root, tenant):
    """Write what a server leaves in the database: counts, feedback and a key."""
    database = Workspace(root).database
    write_counts(database, [Observation(tenant=tenant, version="1", arm="champion", minute=1, latencies={3: 1})])
    save_feedback(
        database, Feedback(tenant=tenant, version="1", arm="champion", request="r", source="s", corrected="c")
    )
    keys = "prefixfleet_keys (id TEXT, tenant TEXT)"
    with database.transaction("as serving's keys do") as connection:
        connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {keys}")
        connection.exec_driver_sql(f"INSERT INTO prefixfleet_keys VALUES ('{tenant}', '{tenant}')")


def test_everything_of_one_tenant_is_removed_and_everything_of_the_others_stays(
    make_checkout, write_tenant, run_in, otlp
):
    root = make_checkout(("alder", "birch"))
    shutil.copy(root / "data/alder/test.jsonl", root / "data/birch/test.jsonl")  # an object that two tenants share
    run_in(root, "dvc", "add", "-q", "data")
    run_in(root, "git", "commit", "-q", "-am", "share")
    write_tenant(root / "data", "alder", start=7)  # a later version that no commit names
    run_in(root, "dvc", "add", "-q", "data")
    for stage in (train, evaluate, gate):
        stage.run(Workspace(root))
    workspace = Workspace(root)
    register.roll_out(workspace, register.register(workspace, plan(workspace).collect_fingerprints())[0], [])
    run_in(root, "dvc", "push", "-q")
    for tenant in ("alder", "birch"):
        write_served_rows(root, tenant)
        (root / "quarantine" / tenant).mkdir(parents=True)
        (root / "quarantine" / tenant / "train.jsonl").write_text("{}\n")
        (root / "var/tune" / tenant).mkdir(parents=True)
        (root / "overrides" / f"{tenant}.yaml").write_text("train: {prefix_length: 2}\n")
        digest = workspace.registry.find_champion(tenant).sha256
        workspace.registry.fetch(workspace.registry.find_champion(tenant), root / "var/champions" / digest)
    (root / "overrides/.alder.yaml.4711.0a1b2c3d.tmp").write_text("train: {")  # a write that was killed
    (root / "out/nights").mkdir()
    for number, tenant in enumerate(("alder", "birch"), 1):
        (root / f"out/nights/{number}.html").write_text(f"<strong>{tenant}</strong>")
    write_tenant(root / "drops", "alder")
    remote, cache = root.parent / "remote", root / ".dvc" / "cache"
    before = list_objects(remote)
    alone = set(find_owned_objects(root, "alder")["DVC remote local"])
    assert alone
    shared = subprocess.check_output(["md5sum", root / "data/birch/test.jsonl"], text=True).split()[0]
    assert shared in before - alone
    birch = {name: path.read_bytes() for path in (root / "data/birch").iterdir() for name in [path.name]}
    assert len(find_remains(Workspace(root), "alder")) > 10

    forget(Workspace(root), "alder", by=Actor("ada"))

    assert find_remains(Workspace(root), "alder") == []
    # Not by find_remains: names, contents, objects.
    assert [path for path in root.rglob("*") if "alder" in path.name and ".git" not in path.parts] == []
    assert [path.name for path in (root / "overrides").glob("*.yaml")] == ["birch.yaml"]
    texts = b"".join(path.read_bytes() for path in (root / "out").glob("*/*") if path.is_file())
    assert b"alder" not in texts
    assert b"birch" in texts
    assert [path.name for path in (root / "out/nights").iterdir()] == ["2.html"]
    for store in (remote, cache):
        assert not list_objects(store) & alone
        assert shared in list_objects(store)
    assert before - alone <= list_objects(remote)
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
    failed = wait_until(lambda: [one for one in otlp.find("forget") if one.is_failed], "the span of what failed")
    assert [one.attributes for one in failed] == [{"prefixfleet.tenant": "alder", "error.type": "DataError"}]
    done = otlp.find("forget", tenant="alder")[0]
    assert otlp.list_children(done) == ["search", *STEPS, "search"]

    forget(Workspace(root), "birch", by=Actor("ada"))  # the last tenant
    assert find_remains(Workspace(root), "birch") == list((root / "data").iterdir()) == []


def test_a_tenant_that_params_names_is_not_forgotten(make_root, set_params):
    root = make_root(("alder", "birch"), tenants={"alder": {"gate": {"min_slice": 3}}})
    with pytest.raises(ConfigError, match=r"tenants\.alder"):
        forget(Workspace(root), "alder")
    set_params(root, tenants={"birch": {"train": {"shared": "alder"}}})
    with pytest.raises(ConfigError, match=r"train\.shared of birch"):
        forget(Workspace(root), "alder")


@pytest.fixture
def workspace(make_root, run_in):
    """A workspace of git and DVC without a dataset version, made without DVC's command line."""
    root = make_root(("cedar",), data={"push": False})
    (root / "data.dvc").unlink()
    run_in(root, "git", "init", "-q")
    (root / ".dvc").mkdir()
    (root / ".dvc/config").touch()
    return Workspace(root)


class RecordingSearch:
    """A scheduler's record without entries; notes at each search whether another machine could lock the tenant."""

    def __init__(self, workspace):
        self.database, self.is_free = open_database_url(workspace.database.url, DatabaseTimeouts(lock=1)), []

    def remove(self, tenant):
        pass

    def find_remains(self, tenant):
        try:
            with self.database.lock(tenant):
                self.is_free.append(True)
        except WorkspaceError:
            self.is_free.append(False)
        return []


def test_the_tenant_is_locked_from_the_last_search_to_the_ledgers_line(workspace):
    append_entries(workspace.database, LedgerEntry(tenant="alder", by="retrain", action="promote", to_version="1"))
    search = RecordingSearch(workspace)
    forget(workspace, "alder", by=Actor("ada"), record=search)
    assert search.is_free == [True, False]


def test_the_remains_of_an_interrupted_run_are_found_without_the_registry(workspace):
    """Copies of versions that MLflow no longer has, and a ledger without the final line."""
    prefix = Prefix.from_sites({"decoder.self": torch.zeros(1, 2, 1, 2, 4)})
    facts = {"base_name": "base", "base_digest": "b" * 64, "tokenizer_digest": "c" * 64, "dataset_version": "d" * 32}
    facts |= {"data_digest": "e" * 64, "train": {"prefix_length": 2}, "fingerprint": "f" * 64}
    for folder, tenant in (("prefixes/1", "alder"), ("champions/2", "alder"), ("prefixes/3", "birch")):
        save_artifact(workspace.root / "var" / folder, prefix, tenant=tenant, **facts)
    append_entries(workspace.database, LedgerEntry(tenant="alder", by="retrain", action="promote", to_version="1"))
    assert len(find_remains(workspace, "alder")) == 2

    forget(workspace, "alder", by=Actor("ada"))

    assert [path.name for name in ("champions", "prefixes") for path in (workspace.root / "var" / name).iterdir()] == [
        "3"
    ]
    assert [one.action for one in read_history(workspace.database, "alder")] == ["promote", "forget"]
    with pytest.raises(DataError, match="nothing anywhere"):
        forget(workspace, "alder")
    append_entries(workspace.database, LedgerEntry(tenant="birch", by="retrain", action="promote", to_version="1"))
    shutil.rmtree(workspace.root / "var/prefixes/3")
    forget(workspace, "birch", by=Actor("ada"))  # stopped before its last line
    assert [one.action for one in read_history(workspace.database, "birch")] == ["promote", "forget"]


def test_files_that_an_admin_uploaded_for_this_tenant_alone_go_with_it(workspace):
    database, folder = workspace.database, workspace.root / "var/uploads/_admin"
    folder.mkdir(parents=True)
    for name in ("file-own", "file-both", "file-unused"):
        (folder / f"{name}.jsonl").touch()
        one = UploadedFile(id=name, tenant=None, name="a.jsonl", size_bytes=0, examples=1, created_s=0.0)
        add_file(database, one, max_files=9)
    for tenant, training, validation in (("alder", "file-both", "file-own"), ("birch", "file-both", "")):
        files = {"training_file": training, "validation_file": validation}
        create_job(database, tenant=tenant, place="p", request={}, **files, max_waiting=9)
    assert "the uploaded file file-own" in find_remains(workspace, "alder")

    forget(workspace, "alder", by=Actor("ada"))

    assert sorted(path.stem for path in folder.iterdir()) == ["file-both", "file-unused"]
    assert sorted(file.id for file in list_files(database, None)) == ["file-both", "file-unused"]


def hash_files(root):
    paths = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path: path.read_bytes() for path in paths if not path.name.endswith(("-shm", ".lock"))}


def test_forgetting_in_a_copy_leaves_the_original_as_it_is(make_checkout, write_tenant, run_in):
    root = make_checkout(("alder", "birch"))
    workspace = Workspace(root)
    for stage in (train, evaluate, gate):
        stage.run(workspace)
    register.roll_out(workspace, register.register(workspace, plan(workspace).collect_fingerprints())[0], [])
    workspace.database.close()  # which also writes its write-ahead log into the file
    run_in(root, "dvc", "push", "-q")
    copy = shutil.copytree(root, root.parent / "copy", symlinks=True)
    before = hash_files(root) | hash_files(root.parent / "remote")

    copied = Workspace(copy)
    copied.registry.set_tags(copied.registry.find_versions("birch")[0], {"sha256": "../../data"})  # names a folder

    with pytest.raises(WorkspaceError, match=rf"objects in the DVC remote local, which {root} uses too"):
        forget(Workspace(copy), "alder", by=Actor("ada"))
    assert find_remains(Workspace(copy), "alder") != []
    config = copy / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(root.parent / "remote"), str(copy / "remote")))
    forget(Workspace(copy), "alder", by=Actor("ada"))

    assert hash_files(root) | hash_files(root.parent / "remote") == before
    assert not any("alder" in path.name for path in copy.rglob("*") if ".git" not in path.parts)
    assert list((copy / "var/mlflow").rglob("manifest.json")) != []
    assert all('"birch"' in path.read_text() for path in (copy / "var/mlflow").rglob("manifest.json"))
    assert Workspace(root).registry.find_champion("alder").version == "1"
    write_tenant(copy / "data", "cedar")  # birch is not the last tenant
    run_in(copy, "dvc", "add", "-q", "data")
    forget(Workspace(copy), "birch", by=Actor("ada"))
    assert [path.name for path in (copy / "data").iterdir()] == ["cedar"]
