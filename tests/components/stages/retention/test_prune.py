"""Pruning with a real MLflow: what goes, what stays, and what a killed process left."""

import pytest
import torch
from mlflow import MlflowClient

from components.errors import ConfigError, OwnershipError, RegistryError
from components.model.prefix.prefix import Prefix
from components.registry.artifact import save_artifact
from components.registry.registry import RunLog
from components.rollout.store.ledger import read_history
from components.stages.retention.prune import prune
from components.stages.retention.result import PrunedTenant, PruneResult
from components.stages.rollout import manual
from components.stages.workspace import Workspace

KEEP_TWO = {"versions": 2, "days": 0}


class Fleet:
    """A workspace with versions of small artifacts."""

    def __init__(self, root):
        self.workspace = Workspace(root)
        self.client = MlflowClient(tracking_uri=self.workspace.registry.uri)
        self._made = 0

    def register(self, tenant, count):
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
            )
            self.workspace.registry.register(tenant, folder, "base", {"verdict": "accepted"}, RunLog())

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


def test_old_versions_go_with_their_runs_and_files_and_the_ledger_says_so(fleet):
    manual.promote(fleet.workspace, "alder", "1", "ada")
    copy = fleet.workspace.root / "var/prefixes" / fleet.workspace.registry.find_versions("alder")[-2].sha256
    copy.mkdir(parents=True)
    planned = prune(fleet.workspace, dry_run=True)
    assert fleet.list_versions("alder") == [1, 2, 3, 4, 5, 6]

    removed = prune(fleet.workspace, by="ada")

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
