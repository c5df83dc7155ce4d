"""Pruning of random fleets, stopped in the middle and run again: what is protected can still be read and fetched."""

import random
import subprocess
from dataclasses import dataclass

import pytest
import torch
from mlflow import MlflowClient

from components.data import dvc, dvc_pruning
from components.data.dvc_objects import read_tenant_files
from components.model.prefix.prefix import Prefix
from components.registry.artifact import load_artifact, save_artifact
from components.registry.mlflow import pruning
from components.registry.registry import RunLog
from components.rollout.policy.former_champions import list_former_champions
from components.rollout.store.ledger import read_history
from components.rollout.store.tenant_state import read_states
from components.stages.retention.prune import prune
from components.stages.retention.result import PruneResult
from components.stages.rollout import manual
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
TENANTS = ("alder", "birch")
NIGHTS = 7
RETENTION = {"versions": 1, "days": 0, "dvc_objects": "remote", "predictions_days": 0}


@dataclass
class Night:
    """What a version was trained on and made from."""

    tenant: str
    number: str
    sha256: str
    parent: str
    data: dict[str, bytes]


class Killed(BaseException):
    """A process that ends here."""


class Fleet:
    """A checkout with random nights and moves."""

    def __init__(self, root, choices, write_tenant):
        self.workspace, self.choices, self._write_tenant = Workspace(root), choices, write_tenant
        self.nights: list[Night] = []
        dvc.push(root)

    def live(self):
        client = MlflowClient(tracking_uri=self.workspace.registry.uri)
        for count in range(NIGHTS):
            tenant = self.choices.choice(TENANTS)
            self._train(tenant, count)
            own = [one.number for one in self.nights if one.tenant == tenant]
            match self.choices.randrange(5):
                case 0 | 1:
                    manual.promote(self.workspace, tenant, own[-1])
                case 2:
                    client.set_registered_model_alias(f"prefix-{tenant}", "blue", self.choices.choice(own))
                case 3:
                    client.set_registered_model_alias(f"prefix-{tenant}", "challenger", own[-1])
                case 4 if tenant in self.workspace.registry.find_champions():
                    manual.hold(self.workspace, tenant, "pin")
                    manual.hold(self.workspace, tenant, "unpin")
            if self.choices.random() < 0.3:
                run_git(self.workspace.root, "commit", "-aqm", f"night {count}")

    def _train(self, tenant, count):
        root = self.workspace.root
        self._write_tenant(root / "data", tenant, 1000 + 100 * count)
        version = dvc.add_data(root)
        dvc.push(root)
        former = [one.sha256 for one in self.nights if one.tenant == tenant]
        parent = former[-1] if former and self.choices.random() < 0.5 else ""
        folder = root / "var" / "made" / str(count)
        manifest = save_artifact(
            folder,
            Prefix.from_sites({"decoder.self": torch.full((1, 2, 1, 2, 4), float(count))}),
            tenant=tenant,
            base_name="base",
            base_digest="b" * 64,
            tokenizer_digest="c" * 64,
            dataset_version=version,
            data_digest="e" * 64,
            train={"prefix_length": 2},
            fingerprint=f"{count:064x}",
            made_from={"warm_start": parent} if parent else {},
        )
        made = self.workspace.registry.register(tenant, folder, "base", {"verdict": "accepted"}, RunLog())
        data = {path.name: path.read_bytes() for path in (root / "data" / tenant).iterdir()}
        self.nights.append(Night(tenant, made.version, manifest.sha256, parent, data))

    def list_protected(self):
        """Tenant and number of every version that must stay, by an own reading of MLflow, the states and the ledger."""
        protected = set()
        states = read_states(self.workspace.database)
        for tenant in TENANTS:
            own = [one for one in self.nights if one.tenant == tenant]
            numbers = {one.version for one in self.workspace.registry.find_versions(tenant) if one.aliases}
            if tenant in states:
                numbers |= {states[tenant].champion, states[tenant].challenger} - {""}
            numbers |= set(list_former_champions(read_history(self.workspace.database, tenant))[:2])
            numbers |= {one.number for one in own[-1:]}
            parents = {one.parent for one in own if one.number in numbers}
            numbers |= {one.number for one in own if one.sha256 in parents}
            protected |= {(tenant, number) for number in numbers}
        return protected

    def check(self, protected, scratch):
        """Every version can be loaded with the data that it was trained on; the protected ones are there."""
        workspace = self.workspace
        present = {(tenant, one.version): one for tenant in TENANTS for one in workspace.registry.find_versions(tenant)}
        assert protected <= present.keys()
        for one in self.nights:
            version = present.get((one.tenant, one.number))
            if version is not None:
                folder = workspace.registry.fetch(version, scratch / version.sha256)
                assert load_artifact(folder, None)[1].sha256 == one.sha256
                assert read_tenant_files(workspace.root, version.dataset_version, one.tenant) == one.data
        return set(present)


def run_git(root, *arguments):
    identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=False, capture_output=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_protected_survives_a_pruning_that_is_stopped_and_run_again(
    seed, make_checkout, write_tenant, monkeypatch, tmp_path
):
    choices = random.Random(seed)
    fleet = Fleet(make_checkout(TENANTS, retention=RETENTION), choices, write_tenant)
    fleet.live()
    protected = fleet.list_protected()
    planned = prune(fleet.workspace, dry_run=True)
    assert fleet.check(protected, tmp_path / "before") == {(one.tenant, one.number) for one in fleet.nights}
    calls_left = choices.randrange(6)

    def stop_sometimes(real):
        def call(*arguments):
            nonlocal calls_left
            if calls_left == 0:
                raise Killed
            calls_left -= 1
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((pruning, "delete_run"), (dvc_pruning, "_delete"), (MlflowClient, "delete_model_version")):
            patch.setattr(module, name, stop_sometimes(getattr(module, name)))
        try:
            prune(fleet.workspace)
        except Killed:
            fleet.check(protected, tmp_path / "stopped")

    prune(fleet.workspace)
    left = fleet.check(protected, tmp_path / "after")
    gone = {(one.tenant, number) for one in planned.tenants for number in one.versions}
    assert left == {(one.tenant, one.number) for one in fleet.nights} - gone
    assert prune(fleet.workspace) == PruneResult()
    root = fleet.workspace.root
    for folder in ("data", ".dvc/cache"):
        subprocess.run(["rm", "-rf", str(root / folder)], check=True)
    dvc.pull(root)
    assert dvc.is_clean(root)
    run_git(root, "stash")
    dvc.pull(root)
    assert dvc.is_clean(root)
