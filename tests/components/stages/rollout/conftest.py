"""A workspace in which only versions matter: params.yaml, MLflow on SQLite, and registered versions of four tenants."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from components.registry.mlflow.quiet import quiet_mlflow
from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import read_history
from components.rollout.store.observations import write_counts
from components.rollout.store.tenant_state import read_exposures, read_state
from components.rollout.types import Observation
from components.stages import register
from components.stages.outcome import TenantOutcome
from components.stages.rollout.cycle import TenantCycleResult, run_cycle
from components.stages.workspace import Workspace

CANARY = {
    "policy": "canary",
    "steps": [{"share": 0.1, "hours": 1.0, "min_requests": 20}, {"share": 1.0}],
    "deadline_hours": 24.0,
}


class Fleet:
    """Registered versions in MLflow, changed as a user would change them, and observations as a server writes them."""

    def __init__(self, root: Path) -> None:
        self.now_s = time.time()
        self.minute = int(self.now_s // 60)
        self.root = root
        self.client = MlflowClient(tracking_uri=self.workspace.registry.uri)

    @property
    def workspace(self) -> Workspace:
        """The workspace, opened as another process would."""
        return Workspace(self.root)

    def copy(self, name: str) -> "Fleet":
        """Copy the workspace, with MLflow, into a folder beside it."""
        ignore = shutil.ignore_patterns("*-shm")  # SQLite rebuilds these
        return Fleet(shutil.copytree(self.root, self.root.parent / name, ignore=ignore))

    def register(self, tenant: str, count: int = 1, /, **tags: str) -> None:
        with quiet_mlflow():
            for _ in range(count):
                if not self.client.search_registered_models(f"name = 'prefix-{tenant}'"):
                    self.client.create_registered_model(f"prefix-{tenant}")
                number = len(self.client.search_model_versions(f"name = 'prefix-{tenant}'")) + 1
                source = f"s3://nowhere/{tenant}/{number}"
                known = {"sha256": f"{number:064d}", "verdict": "accepted", "tenant": tenant, **tags}
                self.client.create_model_version(f"prefix-{tenant}", source, tags=known)

    def set_aliases(self, tenant: str, **aliases: str | None) -> None:
        with quiet_mlflow():
            for alias, version in aliases.items():
                if version is None:
                    self.client.delete_registered_model_alias(f"prefix-{tenant}", alias)
                else:
                    self.client.set_registered_model_alias(f"prefix-{tenant}", alias, version)

    def read_aliases(self, tenant: str) -> Mapping[str, str]:
        with quiet_mlflow():
            return {
                name: str(number)
                for name, number in self.client.get_registered_model(f"prefix-{tenant}").aliases.items()
            }

    def add_observations(self, tenant: str, until: int, champion: dict[str, int], challenger: dict[str, int]) -> None:
        """Add the same counts in every minute from 5 minutes after the start to before minute `until`.

        Every answer is evidence too, as if each were to another user.
        """
        database = self.workspace.database
        cells = [
            Observation(tenant=tenant, version=version, arm=arm, minute=minute, section=section, **counts)
            for section in (0, read_state(database, tenant).changes[-1].second)
            for minute in range(self.minute + 5, self.minute + until)
            for arm, version, counts in (("champion", "1", champion), ("challenger", "2", challenger))
        ]
        write_counts(database, cells)

    def list_exposures(self) -> Mapping[str, tuple[str, float, bool]]:
        """Tenant -> its challenger, the share, and whether it is a shadow."""
        exposures = read_exposures(self.workspace.database)
        return {tenant: (one.challenger, one.share, one.shadow) for tenant, one in exposures.items()}

    def run_cycle(self, hours: float = 0.0) -> tuple[list[TenantCycleResult], list[TenantOutcome]]:
        """Run a cycle, so many hours after the start."""
        return run_cycle(self.workspace, now_s=lambda: self.now_s + hours * 3600)

    def roll_out(self, *tenants: str) -> dict[str, str]:
        """Roll out the newest version of each, as retraining does; returns tenant -> promoted version."""
        workspace = self.workspace
        newest = {tenant: workspace.registry.find_versions(tenant)[0] for tenant in tenants}
        promoted, failures = register.roll_out(workspace, newest, [])
        assert failures == []
        return promoted

    def list_moves(self, tenant: str) -> list[tuple[str, str, str, str]]:
        """The tenant's ledger: actor, action, from, to."""
        entries = read_history(self.workspace.database, tenant)
        return [(one.by, one.action, one.from_version, one.to_version) for one in entries]


def write_fleet(
    root: Path,
    template: Path,
    rollout: Mapping[str, Any],
    tenants: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> Fleet:
    """Make a workspace of params.yaml and of copies of a template's databases."""
    shutil.copytree(template, root / "var")
    params = {"base": {"path": "base"}, "rollout": dict(rollout), "tenants": dict(tenants or {}), **sections}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Fleet(root)


@pytest.fixture
def own_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the workspace's databases, whatever the environment names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("PREFIXFLEET_DATABASE", raising=False)


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """The folder var/ of a workspace, with the tables of MLflow and of rollouts."""
    folder = tmp_path_factory.mktemp("empty-fleet") / "var"
    (folder / "mlflow").mkdir(parents=True)
    shutil.copy(empty_mlflow, folder / "mlflow")
    open_database_url(f"sqlite:///{folder}/prefixfleet.db").close()
    return folder


@pytest.fixture(scope="session")
def four_tenants(tmp_path_factory: pytest.TempPathFactory, empty_databases: Path) -> Path:
    """`empty_databases` after four tenants have registered a version each."""
    root = tmp_path_factory.mktemp("four-tenants") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "PREFIXFLEET_DATABASE"):
            patch.delenv(name, raising=False)
        made = write_fleet(root, empty_databases, CANARY)
        for tenant in ("alder", "birch", "cedar", "dale"):
            made.register(tenant)
    return root / "var"


@pytest.fixture
def make_fleet(tmp_path: Path, empty_databases: Path, own_databases: None) -> Callable[..., Fleet]:
    """A function that makes a workspace in which only versions matter: params.yaml, and MLflow on SQLite."""
    return lambda *values, folder=".", **sections: write_fleet(tmp_path / folder, empty_databases, *values, **sections)


@pytest.fixture
def fleet(tmp_path: Path, four_tenants: Path, own_databases: None) -> Fleet:
    """Four tenants with one version each: two with a canary, cedar immediate, dale manual."""
    policies = {"cedar": {"rollout": {"policy": "immediate"}}, "dale": {"rollout": {"policy": "manual"}}}
    return write_fleet(tmp_path, four_tenants, CANARY, policies)
