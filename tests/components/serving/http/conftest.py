"""A server's parts in this process, over an engine and a registry in memory; and a workspace with a real MLflow."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fake_serving import FakeEngine, FakeRegistry
from observations import read_observations
from random_versions import register_random

from components.config import Params
from components.rollout.store.database import open_database_url
from components.rollout.store.tenant_state import write_states
from components.rollout.types import Observation, RolloutState, ShareChange
from components.serving.http.app import build_app
from components.serving.http.build import build_service
from components.serving.http.service import Service
from components.stages.workspace import Workspace
from components.storage.database import Database


class FakeFleet:
    """Tenants in memory, and servers over them."""

    def __init__(self, database: Path) -> None:
        self._database_url = f"sqlite:///{database}"
        self.root = database.parent
        self.registry = FakeRegistry()
        self.engine = FakeEngine(self.registry)
        self.load_engine: Callable[[], Any] = lambda: self.engine
        self.set_params()

    def set_params(self, **sections: Any) -> None:
        """Set sections of params.yaml for the next server."""
        defaults = {"base": {"path": "base"}, "evaluate": {"max_new_tokens": 6}}
        self.params = Params.model_validate({**defaults, **sections})

    @contextmanager
    def serving(self, *, is_open: bool = True) -> Iterator[Service]:
        """The parts of a server, without a process; unless `is_open`, requests need a key."""
        database = open_database_url(self._database_url)
        workspace: Any = SimpleNamespace(registry=self.registry, root=self.root)
        try:
            yield build_service(workspace, self.params, database, allows_anonymous=is_open, load=self.load_engine)
        finally:
            database.close()


async def load(service: Service) -> None:
    """Make a server ready: load its engine and read the aliases."""
    await service.engine.load()
    await service.fleet.refresh()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables of rollouts; copying it is faster than making it."""
    path = tmp_path_factory.mktemp("tables") / "prefixfleet.db"
    open_database_url(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Iterator[Database]:
    """The rollout's tables in SQLite, empty."""
    opened = open_database_url(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'empty.db')}")
    yield opened
    opened.close()


@pytest.fixture
def fleet(tmp_path: Path, empty_database: Path) -> FakeFleet:
    """Two tenants with a champion each, the version 1."""
    made = FakeFleet(Path(shutil.copy(empty_database, tmp_path)))
    made.registry.register("alder", 1, "champion")
    made.registry.register("birch", 2, "champion")
    return made


@pytest.fixture
def ask(fleet: FakeFleet) -> Callable[..., Any]:
    """Run an async function of (client, service) against the whole application in this process."""

    def run(talk: Callable[[httpx.AsyncClient, Service], Any], *, is_open: bool = True, loaded: bool = True) -> Any:
        async def main() -> Any:
            with fleet.serving(is_open=is_open) as service:
                if loaded:
                    await load(service)
                transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    return await talk(client, service)

        return asyncio.run(main())

    return run


@pytest.fixture(name="load")
def _load() -> Callable[[Service], Any]:
    return load


async def start_trial(
    service: Service, share: float = 1.0, *, shadow: bool = False, before: float = 0.0, since_s: int = 60
) -> None:
    """Put alder's version 2 on trial with `share` of the requests, after the share `before`; refresh the server."""
    changes = (ShareChange(0, before), ShareChange(since_s, share))
    mode: Any = "shadow" if shadow else "canary"
    state = RolloutState(tenant="alder", champion="1", challenger="2", mode=mode, share=share, changes=changes)
    with service.database.transaction("a trial") as connection:
        write_states(connection, [state])
    await service.fleet.refresh()


@pytest.fixture(name="start_trial")
def _start_trial() -> Callable[..., Any]:
    return start_trial


async def observe(service: Service, *, evidence: bool = False) -> Sequence[Observation]:
    """Write and read alder's observations of the versions 1 and 2: all answers, or those that are evidence."""
    await service.observation_buffer.flush()
    return read_observations(service.database, "alder", ["1", "2"], 0, 2**31 - 1, evidence=evidence)


@pytest.fixture(name="observe")
def _observe() -> Callable[..., Any]:
    return observe


class MlflowFleet:
    """A workspace with the tiny base and MLflow, to register random prefixes in and to serve from."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.registry = self.workspace.registry

    def register(self, tenant: str, seed: int, *aliases: str) -> str:
        """Register a random prefix of length 2; returns its version."""
        return register_random(self.workspace, tenant, seed, *aliases).version


@pytest.fixture(scope="module")
def mlflow_fleet(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, empty_mlflow: Path
) -> Iterator[MlflowFleet]:
    """Two tenants with a champion each, the version 1, for all tests of a file."""
    root = tmp_path_factory.mktemp("served") / "workspace"
    (root / "var" / "mlflow").mkdir(parents=True)
    (root / "base").symlink_to(tiny_base)
    (root / "var" / "mlflow" / "mlflow.db").write_bytes(empty_mlflow.read_bytes())
    (root / "params.yaml").write_text("base: {path: base}\nevaluate: {max_new_tokens: 6}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = MlflowFleet(root)
        made.register("alder", 1, "champion")
        made.register("birch", 2, "champion")
        yield made
