"""Shared by all tests: a tiny base, workspaces, servers, the order of files. All tools write into temporary folders."""

import fcntl
import functools
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import certifi
import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

import prefect_server
import s3_server
import workspaces
from compiled_tests import compile_tests
from file_order import may_be_slow, sort_by_seconds
from forked_process import run_forked, share_server
from forked_workers import ForkedWorkers, can_be_forked
from processes import find_free_port, run_in
from server_process import ServerProcess
from workspaces import TENANTS

from components.data import dvc
from flows.environment import prepare_environment

if TYPE_CHECKING:
    from otlp_receiver import OtlpReceiver

PREFECT_PORT = find_free_port()
_FEWER_COLLECTIONS = 20_000
"""New objects before garbage is collected; Python's 700 lets the tests spend a twentieth of their time on it."""
_END = "-----END CERTIFICATE-----\n"
HOME = Path(tempfile.mkdtemp(prefix="prefixfleet-tests-"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tools quiet and their files out of the home folder, before a file of tests imports any of them.

    Prefect reads its settings on import: also the address of this session's server, which starts later.
    """
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{PREFECT_PORT}/api"
    os.environ["PREFECT_HOME"] = str(HOME / "prefect")
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # here and in each command, or a resumed training would differ
    prepare_environment(HOME)
    # One trusted authority: loading the usual 140 takes 30 ms for each client of httpx, and each poll makes one.
    (HOME / "authority.pem").write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(_END)[0] + _END)
    os.environ["SSL_CERT_FILE"] = str(HOME / "authority.pem")
    if config.getoption("numprocesses", None):
        share_server()
        compile_tests(config)
        is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS  # a few files import less
        if is_whole and can_be_forked() and not config.option.collectonly:
            workers = ForkedWorkers()
            config.add_cleanup(workers.end)
            config.option.tx = [workers.make_spec()] * len(config.option.tx)


def pytest_unconfigure() -> None:
    """Remove the tools' files."""
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, and keep their modules' million objects out of later ones."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(_FEWER_COLLECTIONS, 20, 20)
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without slow tests if only these are asked for: importing all files takes 25 s a worker."""
    is_left_out = config.getoption("markexpr") == "slow" and not may_be_slow(collection_path)
    return True if is_left_out else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files that take longest begin first, so that no worker of pytest-xdist is left with one at the end."""
    sort_by_seconds(items)
    hidden = {item.path for item in items if item.get_closest_marker("slow") and not may_be_slow(item.path)}
    assert not hidden, f"make test-slow would leave out slow tests of {hidden}: see may_be_slow"


@pytest.fixture(scope="session", autouse=True)
def repeat_less() -> Iterator[None]:
    """Fork the product's commands of DVC, and let workspaces load and measure a base and make their tables once.

    Nothing is imported for it where no collected test loads a base or opens a database.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dvc, "subprocess", SimpleNamespace(run=run_forked))
        if (module := sys.modules.get("components.model.base.load")) is not None:
            from loaded_bases import LoadedBases, measure_once

            patch.setattr(module, "load_base", LoadedBases(module.load_base).load)
            if (memory := sys.modules.get("components.training.memory")) is not None:
                patch.setattr(memory, "measure_token_bytes", measure_once(memory.measure_token_bytes))
        if (module := sys.modules.get("components.storage.database")) is not None:
            from prepared_tables import PreparedTables

            prepared = PreparedTables(module.Database.upgrade)
            patch.setattr(
                module.Database, "upgrade", lambda *database, **options: prepared.upgrade(*database, **options)
            )
        yield


@pytest.fixture(scope="session")
def empty_prefect(pytestconfig: pytest.Config) -> Path:
    """The folder, kept from session to session, with the empty tables of a Prefect server once one has made them."""
    return pytestconfig.cache.mkdir(f"prefect-{version('prefect')}")


@pytest.fixture(scope="session")
def prefect_api(empty_prefect: Path) -> Iterator[str]:
    """The address of this session's Prefect server, started for the first test that runs a flow."""
    settings = {**prefect_server.FEW_SERVICES, "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.2"}
    home = HOME / "prefect-server"
    with prefect_server.run_server_from_empty(empty_prefect, home, PREFECT_PORT, settings) as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[s3_server.S3Server]:
    """This session's S3 server, started for the first test that needs one."""
    with s3_server.run_s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def give_prefect_tables(prefect_api: str, empty_prefect: Path) -> Callable[[Path], None]:
    """A function that gives a server's folder (PREFECT_HOME) the empty tables that it else spends 7 s on making."""
    return lambda home: prefect_server.copy_database(empty_prefect, home)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 of random weights (about 10,000 parameters) and a tokenizer of single bytes."""
    return workspaces.write_tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def empty_mlflow(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it; making one takes seconds, so one is kept from session to session."""
    from mlflow.store.db import utils as mlflow_tables

    from components.config import RegistryConfig
    from components.registry.registry import Registry

    # MLflow reads all its migrations whenever it opens a database, to find the same newest revision.
    mlflow_tables._get_latest_schema_revision = functools.cache(mlflow_tables._get_latest_schema_revision)
    folder, kept = tmp_path_factory.mktemp("mlflow"), pytestconfig.cache.mkdir(f"mlflow-{version('mlflow')}")
    with (kept / "lock").open("w") as lock:  # one process makes it, others wait for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "mlflow.db").exists():
            assert Registry(RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db"), folder).find_champions() == {}
            shutil.copy(folder / "mlflow.db", kept / "part")
            (kept / "part").rename(kept / "mlflow.db")
        else:
            shutil.copy(kept / "mlflow.db", folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def checkout_template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Path]:
    """A function of tenants to a git and DVC repository to copy; made once for the same tenants."""
    folder = tmp_path_factory.mktemp("templates")
    made = {(): workspaces.write_checkout_template(folder / "empty")}

    def find(tenants: Sequence[str]) -> Path:
        key = tuple(tenants)
        if key not in made:
            made[key] = workspaces.write_filled_template(folder / "-".join(key), made[()], key)
        return made[key]

    return find


@pytest.fixture(scope="session")
def make_root_in(tiny_base: Path, empty_mlflow: Path) -> Callable[..., Path]:
    """As `make_root`, with the folder to make it in as the first argument; for fixtures of a module."""

    def make(folder: Path, tenants: Sequence[str] = TENANTS, /, **sections: dict[str, Any]) -> Path:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it for its process
        return workspaces.write_workspace(folder / "workspace", tiny_base, empty_mlflow, tenants, sections)

    return make


@pytest.fixture(scope="session")
def make_checkout_in(
    make_root_in: Callable[..., Path], checkout_template: Callable[[Sequence[str]], Path]
) -> Callable[..., Path]:
    """As `make_checkout`, with the folder to make it in as the first argument; for fixtures of a module."""

    def make(folder: Path, tenants: Sequence[str] = TENANTS, /, **sections: dict[str, Any]) -> Path:
        return workspaces.add_repository(make_root_in(folder, tenants, **sections), checkout_template(tenants))

    return make


@pytest.fixture
def make_root(tmp_path: Path, make_root_in: Callable[..., Path]) -> Callable[..., Path]:
    """A function to a workspace's top folder with base, params.yaml, data and MLflow, without git and DVC."""
    return lambda *tenants, **sections: make_root_in(tmp_path, *tenants, **sections)


@pytest.fixture
def make_checkout(tmp_path: Path, make_checkout_in: Callable[..., Path]) -> Callable[..., Path]:
    """A function to a whole workspace: git, DVC with a local remote, the project's dvc.yaml, data under version."""
    return lambda *tenants, **sections: make_checkout_in(tmp_path, *tenants, **sections)


@pytest.fixture(scope="session")
def call() -> Callable[..., Any]:
    """A function that runs `prefixfleet -C ROOT ...` in this process; returns its exit_code, stdout and stderr."""
    from typer.testing import CliRunner

    from cli.main import app

    return lambda root, *arguments: CliRunner().invoke(app, ["-C", str(root), *arguments])


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """A function of a workspace and options of `prefixfleet serve` to the process; killed after the test."""
    started = []

    def start(
        root: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> ServerProcess:
        started.append(ServerProcess(root, options, environment or {}, before))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def otlp(monkeypatch: pytest.MonkeyPatch) -> "Iterator[OtlpReceiver]":
    """A collector to which this process sends its spans and metrics during the test."""
    from otlp_receiver import export_here, run_otlp_receiver

    with run_otlp_receiver() as receiver, export_here(monkeypatch, receiver.environment):
        yield receiver


@pytest.fixture(name="set_params")
def _set_params() -> Callable[..., None]:
    return workspaces.set_params


@pytest.fixture(name="write_tenant")
def _write_tenant() -> Callable[..., None]:
    return workspaces.write_tenant


@pytest.fixture(name="write_lines")
def _write_lines() -> Callable[..., None]:
    return workspaces.write_lines


@pytest.fixture(name="examples_of")
def _examples_of() -> Callable[..., list[dict[str, Any]]]:
    return workspaces.examples_of


@pytest.fixture(name="run_in")
def _run_in() -> Callable[..., Any]:
    return run_in
