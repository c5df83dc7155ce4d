"""Pruning with a real MLflow: what goes, what stays, and what a killed process left."""

import os
import time
from datetime import UTC, datetime

import pytest
import torch
from mlflow import MlflowClient
from waiting import wait_until

from components.errors import ConfigError, DataError, LockHeldError, OwnershipError, RegistryError
from components.model.prefix.prefix import Prefix
from components.registry.artifact import save_artifact
from components.registry.registry import RunLog
from components.rollout.store.ledger import read_history
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.rollout.store.usage import Usage, UsageKey, add_served, read_usage
from components.stages.evaluation_scoring import PREDICTIONS_FILE
from components.stages.retention import reference_time
from components.stages.retention.prune import prune
from components.stages.retention.result import PrunedKind, PrunedTenant, PruneResult
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore

KEEP_TWO = {"versions": 2, "days": 0}


class Fleet:
    """A workspace with versions of small artifacts."""

    def __init__(self, root):
        self.workspace = Workspace(root)
        self.client = MlflowClient(tracking_uri=self.workspace.registry.uri)
        self._made = 0

    def register(self, tenant, count, made_from=None):
        for _ in range(count):
            self._made += 1
            values = torch.full((1, 2, 1, 2, 4), float(self._made))
            folder = self.workspace.root / "made" / str(self._made)
            save_artifact(
                folder,
                Prefix.from_sites({"decoder.self": values}),
                tenant=tenant,
                base_name="base",
                base_digest="b" * 64,
                tokenizer_digest="c" * 64,
                dataset_version="d" * 32,
                data_digest="e" * 64,
                train={"prefix_length": 2},
                fingerprint=f"{self._made:064x}",
                made_from=made_from or {},
            )
            predictions = folder / PREDICTIONS_FILE
            predictions.write_text("{}\n" * 100)
            run_log = RunLog(files=[predictions])
            self.workspace.registry.register(tenant, folder, "base", {"verdict": "accepted"}, run_log)

    def list_versions(self, tenant):
        return sorted(int(one.version) for one in self.workspace.registry.find_versions(tenant))

    def list_files(self):
        return sorted((self.workspace.root / "var/mlflow").rglob("prefix.safetensors"))


@pytest.fixture
def fleet(make_root):
    made = Fleet(make_root(("alder", "birch"), retention=KEEP_TWO))
    made.register("alder", 6)
    made.register("birch", 2)
    return made


def test_old_versions_go_with_their_runs_and_files_and_ledger_and_trace_say_so(otlp, fleet):
    manual.promote(fleet.workspace, "alder", "1", Actor("ada"))
    copy = fleet.workspace.root / "var/prefixes" / fleet.workspace.registry.find_versions("alder")[-2].sha256
    copy.mkdir(parents=True)
    planned = prune(fleet.workspace, dry_run=True)
    assert fleet.list_versions("alder") == [1, 2, 3, 4, 5, 6]

    removed = prune(fleet.workspace, by=Actor("ada"))

    assert removed == planned == PruneResult([PrunedTenant("alder", ("2", "3", "4"), 0, removed.tenants[0].size_bytes)])
    assert (fleet.list_versions("alder"), fleet.list_versions("birch")) == ([1, 5, 6], [1, 2])
    assert len(fleet.list_files()) == 5
    assert removed.tenants[0].size_bytes > 3 * fleet.list_files()[0].stat().st_size
    assert len(fleet.client.search_runs(["1"], "tags.tenant = 'alder'")) == 3
    assert not copy.exists()
    last = read_history(fleet.workspace.database, "alder")[-1]
    assert (last.action, last.by) == ("prune", "ada")
    assert last.figures == {"versions": ["2", "3", "4"], "dataset_versions": ["d" * 32]}
    assert prune(fleet.workspace) == PruneResult()
    with pytest.raises(DataError):
        prune(fleet.workspace, ["oak"])
    failed = wait_until(lambda: [one for one in otlp.spans if one.is_failed], "the span of the pruning that failed")
    assert [(one.name, one.attributes["error.type"]) for one in failed] == [("prune", "DataError")]
    size = removed.tenants[0].size_bytes
    (done,) = otlp.find("prune", dry_run=False, removed=3, bytes=size)
    (found,) = otlp.find("prune", dry_run=True, removed=3, bytes=size)
    parts = ["prune exchange", "prune quarantine", "prune dataset versions", "prune records"]
    assert otlp.list_children(done) == otlp.list_children(found) == ["prune tenant", "prune tenant", *parts]
    counts = [(one.attributes["prefixfleet.removed"]) for one in otlp.find("prune tenant", tenant="alder")]
    assert counts == [3, 3, 0]


def test_rollback_finds_its_version_after_pruning(fleet):
    for number in ("1", "2", "3", "6"):
        manual.promote(fleet.workspace, "alder", number)
    prune(fleet.workspace)
    assert fleet.list_versions("alder") == [2, 3, 5, 6]
    assert manual.roll_back(fleet.workspace, "alder")[1] == "3"
    assert prune(fleet.workspace, ["alder"]) == PruneResult()


def test_runs_without_a_version_go_as_well(fleet):
    """Those of rejected prefixes, and of a version whose removal was interrupted."""
    fleet.workspace.registry.log_run("birch", RunLog(name="rejected"))
    oldest = fleet.workspace.registry.find_versions("alder")[-1]
    fleet.client.delete_model_version("prefix-alder", oldest.version)
    alder, birch = prune(fleet.workspace).tenants
    assert (alder.versions, alder.runs) == (("2", "3", "4"), 1)
    assert (birch.versions, birch.runs) == ((), 1)
    assert len(fleet.list_files()) == 4


def test_nothing_goes_without_the_section_and_nothing_young(set_params, fleet):
    set_params(fleet.workspace.root, retention={"versions": 1, "days": 1})
    assert prune(Workspace(fleet.workspace.root)) == PruneResult()
    set_params(fleet.workspace.root)
    with pytest.raises(ConfigError, match="a section retention"):
        prune(Workspace(fleet.workspace.root))


def test_a_tenant_of_another_workspace_is_left_as_it_is(fleet):
    for number in ("1", "6"):
        fleet.client.set_model_version_tag("prefix-alder", number, "owner", "f" * 32)
    fleet.client.set_registered_model_alias("prefix-alder", "champion", "1")
    assert prune(fleet.workspace) == PruneResult()
    assert fleet.list_versions("alder") == [1, 2, 3, 4, 5, 6]


def test_a_run_whose_files_are_elsewhere_stops_before_anything_is_deleted(fleet, monkeypatch):
    def refuse(_guard, run, tenant):
        raise RegistryError("files in the store", run.info.run_id, tenant)

    monkeypatch.setattr("components.registry.mlflow.stores.DeletionGuard.check", refuse)
    with pytest.raises((RegistryError, OwnershipError)):
        prune(fleet.workspace)
    assert fleet.list_versions("alder") == [1, 2, 3, 4, 5, 6]
    assert len(fleet.list_files()) == 8


def test_what_a_kept_version_was_made_from_stays(fleet):
    first, second = (fleet.workspace.registry.find_versions("alder")[-number].sha256 for number in (1, 2))
    fleet.register("alder", 1, {"warm_start": first})
    fleet.register("birch", 1, {"shared": second})
    prune(fleet.workspace)
    assert fleet.list_versions("alder") == [1, 2, 6, 7]
    fleet.register("alder", 2)
    prune(fleet.workspace)
    assert fleet.list_versions("alder") == [2, 8, 9]


def test_predictions_of_versions_that_cannot_serve_go_once(fleet, set_params):
    set_params(fleet.workspace.root, retention={"versions": 9, "days": 0, "predictions_days": 0})
    workspace = Workspace(fleet.workspace.root)
    for number in ("3", "4"):
        manual.promote(workspace, "alder", number)
    planned = prune(workspace, ["alder"], dry_run=True)
    assert planned == PruneResult([PrunedTenant("alder", (), 0, 4 * 300, 4)])
    assert prune(workspace, ["alder"]) == planned
    kept = {one.version for one in workspace.registry.find_versions("alder") if _has_predictions(workspace, one)}
    assert kept == {"3", "4"}
    assert "predictions of versions 6, 5, 2, 1" in read_history(workspace.database, "alder")[-1].why
    assert prune(workspace, ["alder"]) == PruneResult()


def _has_predictions(workspace, version):
    return workspace.registry.read_run_file(version.run_id, PREDICTIONS_FILE) is not None


def test_a_clock_that_is_years_ahead_removes_nothing_that_is_young(fleet, set_params, monkeypatch):
    set_params(fleet.workspace.root, retention={"versions": 1, "days": 30})
    workspace = Workspace(fleet.workspace.root)
    manual.promote(workspace, "alder", "1")
    now_s = reference_time.time.time()
    monkeypatch.setattr(reference_time.time, "time", lambda: now_s + 5 * 365 * 86_400)
    assert prune(workspace) == PruneResult()


def test_a_night_and_a_pruning_exclude_each_other(fleet):
    with fleet.workspace.lock(), pytest.raises(LockHeldError):
        prune(fleet.workspace)


def test_the_exchange_quarantine_and_records_are_cleaned_too(fleet, set_params, tmp_path):
    root = fleet.workspace.root
    store = tmp_path / "exchange"
    set_params(
        root,
        retention={"versions": 9, "days": 1, "history_days": 5, "usage_days": 70},
        workers={"exchange": store.as_uri(), "keep_days": 3},
    )
    workspace = Workspace(root)
    exchange = Exchange(ObjectStore(store.as_uri()))
    for parts in (("tenants", "alder", "run"), ("tenants", "birch", "run"), ("shards", "1")):
        exchange.open(*parts).put_json("value", [1] * 50)
    rejected = root / "quarantine" / "alder" / "old.jsonl"
    rejected.parent.mkdir(parents=True)
    for name in ("old.jsonl", "new.jsonl"):
        rejected.with_name(name).write_text("12345")
    for path in [*store.rglob("*"), rejected]:
        os.utime(path, (time.time() - 9 * 86_400,) * 2)
    today = int(time.time() // 86_400)
    long_ago = datetime.fromtimestamp(time.time() - 9 * 86_400, UTC).isoformat(timespec="seconds")
    for at in (long_ago, datetime.now(UTC).isoformat(timespec="seconds")):
        run = begin_run_entry(workspace.database, "hand", "ada", at)
        end_run_entry(workspace.database, run, at, "d" * 32, 0, [RunTenant(tenant="alder", result="promoted")])
    served = {UsageKey("alder", today - day): Usage(requests=1) for day in range(200, 60, -1)}
    add_served(workspace.database, "server", 1, served)
    before = read_usage(workspace.database, 0, today)

    named = prune(workspace, ["alder"], dry_run=True)
    assert [(one.kind, one.tenant, one.objects) for one in named.kinds] == [
        ("objects of the exchange", "alder", 1),
        ("files of rejected lines", "alder", 1),
    ]
    planned = prune(workspace, dry_run=True)
    assert prune(workspace) == planned
    assert [(one.kind, one.tenant, one.objects) for one in planned.kinds[:4]] == [
        ("objects of the exchange", "", 1),
        ("objects of the exchange", "alder", 1),
        ("objects of the exchange", "birch", 1),
        ("files of rejected lines", "alder", 1),
    ]
    assert planned.kinds[4] == PrunedKind("records of nights", 2, None)
    assert planned.kinds[5].kind == "rows of usage by day"
    assert list(store.rglob("*.json")) == []
    assert [path.name for path in rejected.parent.iterdir()] == ["new.jsonl"]
    assert read_usage(workspace.database, 0, today) == before
    by_day = read_usage(workspace.database, 0, today, by_day=True)
    assert len(by_day) == 140 - planned.kinds[5].objects
    assert prune(workspace) == PruneResult()
