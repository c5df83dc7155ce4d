"""A workspace in which only versions matter: params, MLflow on sqlite, and a fleet of registered versions."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from mlflow import MlflowClient

from components.registry.artifact import load_artifact
from components.registry.mlflow.connection import quiet_mlflow
from components.rollout.store.ledger import read_history
from components.rollout.store.observations import write_counts
from components.rollout.store.tenant_state import read_exposures, read_state
from components.rollout.types import Observation
from components.stages import register, train
from components.stages.outcome import TenantOutcome, raise_on_failures
from components.stages.rollout.cycle import TenantCycleResult, run_cycle
from components.stages.stamps import read_csv
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

CANARY = {
    "policy": "canary",
    "steps": [{"share": 0.1, "hours": 1.0, "min_requests": 20}, {"share": 1.0}],
    "deadline_hours": 24.0,
}


class Fleet:
    """Versions in MLflow as a person sees them, and traffic as a server writes it down."""

    def __init__(self, root: Path) -> None:
        self.now_s = time.time()
        self.minute = int(self.now_s // 60)
        self.root = root
        self.client = MlflowClient(tracking_uri=self.workspace.registry.uri)

    @property
    def workspace(self) -> Workspace:
        """As a process of its own would open it."""
        return Workspace(self.root)

    def register(self, tenant: str, count: int = 1, /, **tags: str) -> None:
        with quiet_mlflow():
            for _ in range(count):
                if not self.client.search_registered_models(f"name = 'prefix-{tenant}'"):
                    self.client.create_registered_model(f"prefix-{tenant}")
                number = len(self.client.search_model_versions(f"name = 'prefix-{tenant}'")) + 1
                source = f"s3://nowhere/{tenant}/{number}"
                known = {"sha256": f"{number:064d}", "verdict": "accepted", "tenant": tenant, **tags}
                self.client.create_model_version(f"prefix-{tenant}", source, tags=known)

    def move(self, tenant: str, **aliases: str | None) -> None:
        with quiet_mlflow():
            for alias, version in aliases.items():
                if version is None:
                    self.client.delete_registered_model_alias(f"prefix-{tenant}", alias)
                else:
                    self.client.set_registered_model_alias(f"prefix-{tenant}", alias, version)

    def aliases(self, tenant: str) -> Mapping[str, str]:
        with quiet_mlflow():
            return {
                name: str(number)
                for name, number in self.client.get_registered_model(f"prefix-{tenant}").aliases.items()
            }

    def serve(self, tenant: str, minutes: range, champion: dict[str, int], challenger: dict[str, int]) -> None:
        """The same counts in every minute, each answer to another user."""
        database = self.workspace.database
        cells = [
            Observation(tenant=tenant, version=version, arm=arm, minute=minute, section=section, **counts)
            for section in (0, read_state(database, tenant).changes[-1].second)
            for minute in minutes
            for arm, version, counts in (("champion", "1", champion), ("challenger", "2", challenger))
        ]
        write_counts(database, cells)

    def exposed(self) -> Mapping[str, tuple[str, float, bool]]:
        """Each tenant's challenger, its share, and whether it is unseen."""
        found = read_exposures(self.workspace.database)
        return {tenant: (one.challenger, one.share, one.shadow) for tenant, one in found.items()}

    def roll(self, hours: float = 0.0) -> tuple[list[TenantCycleResult], list[TenantOutcome]]:
        """A cycle, so many hours after the start."""
        return run_cycle(self.workspace, now_s=lambda: self.now_s + hours * 3600)

    def release(self, *tenants: str) -> dict[str, str]:
        """What retraining does with the newest version of each."""
        place = self.workspace
        newest = {tenant: place.registry.find_versions(tenant)[0] for tenant in tenants}
        promoted, troubles = register.roll_out(place, newest, [])
        assert troubles == []
        return promoted

    def told(self, tenant: str) -> list[tuple[str, str, str, str]]:
        """The ledger: who, what, from, to."""
        lines = read_history(self.workspace.database, tenant)
        return [(one.by, one.action, one.from_version, one.to_version) for one in lines]


@pytest.fixture
def make_fleet(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fleet]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("PREFIXFLEET_DATABASE", raising=False)

    def make(rollout: Mapping[str, Any], tenants: Mapping[str, Any] | None = None) -> Fleet:
        (tmp_path / "var" / "mlflow").mkdir(parents=True)
        shutil.copy(empty_mlflow, tmp_path / "var" / "mlflow")
        params = {"base": {"path": "base"}, "rollout": dict(rollout), "tenants": dict(tenants or {})}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return Fleet(tmp_path)

    return make


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    """Four tenants with a version each, of which two go by canary."""
    made = make_fleet(
        CANARY, {"cedar": {"rollout": {"policy": "immediate"}}, "dale": {"rollout": {"policy": "manual"}}}
    )
    for tenant in ("alder", "birch", "cedar", "dale"):
        made.register(tenant)
    return made


@pytest.fixture
def losses_of() -> Callable[..., list[float]]:
    """A function to the validation losses of a tenant's last training."""

    def read(root: Path, tenant: str = "alder") -> list[float]:
        return [float(row["validation_loss"]) for row in read_csv(root / "out/train" / tenant / "loss.csv")]

    return read


@pytest.fixture
def prefixes_of() -> "Callable[..., dict[str, Tensor]]":
    """A function to what was trained: tenant -> keys and values of all layers, stacked."""

    def read(root: Path, *tenants: str) -> "dict[str, Tensor]":
        base = Workspace(root).base
        deltas = {tenant: load_artifact(root / "out/train" / tenant, base)[0] for tenant in tenants}
        return {tenant: delta.prefix.stack_decoder_site() for tenant, delta in deltas.items()}

    return read


@pytest.fixture
def stop_and_resume(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that trains with Ctrl-C at the n-th step that is told of, and then to the end."""

    def trained(root: Path, at: int, tenants: Sequence[str] | None = None) -> None:
        seen = []

        def stop(progress: Any) -> None:
            seen.append(progress)
            if len(seen) == at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train, "report_progress", stop)
            with pytest.raises(KeyboardInterrupt):
                train.run(Workspace(root), tenants)
        raise_on_failures(train.run(Workspace(root), tenants))

    return trained
