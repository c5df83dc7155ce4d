import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from registered_versions import open_mlflow

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow.quiet import quiet_mlflow
from components.registry.registry import Registry, RunLog

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def closed_port() -> int:
    """A port on which no process listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


def test_a_closed_port_raises_a_registry_error(tmp_path: Path, closed_port: int) -> None:
    registry = Registry(RegistryConfig(tracking_uri=f"http://127.0.0.1:{closed_port}"), tmp_path)
    with pytest.raises(RegistryError, match=f"every tenant's champion.*127.0.0.1:{closed_port}.*start MLflow"):
        registry.find_champions()


@pytest.fixture
def healthy_server() -> Iterator[str]:
    """The address of a server that is healthy and has no models."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"{}"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_server_is_asked_if_its_database_is_unreachable_and_one_warning_is_logged(
    tmp_path: Path,
    healthy_server: str,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"postgresql://joe:secret@127.0.0.1:{closed_port}/mlflow")
    registry = Registry(RegistryConfig(tracking_uri=healthy_server), tmp_path)
    for _ in range(2):
        registry._connection._retry_database_s = 0.0
        assert registry.poll_aliased("champion", "challenger") == {"champion": {}, "challenger": {}}
    with pytest.raises(
        RegistryError, match=f"the removal of acme.*joe:.*@127.0.0.1:{closed_port}.*MLFLOW_BACKEND_STORE_URI"
    ):
        registry.remove("acme")
    (warning,) = [record.getMessage() for record in caplog.records if "instead of its database" in record.getMessage()]
    assert f"127.0.0.1:{closed_port}" in warning
    assert "secret" not in warning


def test_a_file_that_is_not_a_database_raises_a_registry_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("text instead of tables " * 100)
    with pytest.raises(RegistryError, match="not a database"):
        Registry(RegistryConfig(tracking_uri="sqlite:///mlflow.db"), tmp_path).find_champions()


def test_a_folder_that_cannot_be_created_raises_a_registry_error(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file in the way")
    with pytest.raises(RegistryError, match="every tenant's champion"):
        Registry(RegistryConfig(), tmp_path).find_champions()


def test_an_unknown_scheme_raises_a_registry_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="ftp"):
        Registry(RegistryConfig(tracking_uri="ftp://somewhere"), tmp_path).find_champions()


def test_environment_and_log_levels_are_restored(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic", "urllib3.connectionpool")}
    before = dict(os.environ)
    seen: list[str | None] = []

    def nested() -> None:
        with quiet_mlflow():
            seen.append(os.environ.get("MLFLOW_DISABLE_TELEMETRY"))
            registry.find_champions()
            seen.append(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])

    threads = [threading.Thread(target=nested) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count("true") == 4
    assert seen.count("77") == 4
    assert dict(os.environ) == before
    assert {name: logging.getLogger(name).level for name in levels} == levels


@pytest.mark.slow
def test_nothing_is_printed_while_tables_are_created(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from components.config import RegistryConfig; "
        "from components.registry.registry import Registry; import sys; "
        "assert 'mlflow' not in sys.modules; print(Registry(RegistryConfig(), Path('.')).find_champions())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{}\n", "")
    assert (tmp_path / "var" / "mlflow" / "mlflow.db").exists()


def test_a_deleted_experiment_raises_a_registry_error(registry: Registry) -> None:
    client = open_mlflow(registry)
    client.delete_experiment(client.create_experiment("prefixfleet"))
    with pytest.raises(RegistryError, match="the deleted experiment 'prefixfleet'"):
        registry.log_run("acme", RunLog())


def test_the_environment_overrides_the_tracking_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Registry(RegistryConfig(), tmp_path).uri == f"sqlite:///{tmp_path.resolve()}/var/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert Registry(RegistryConfig(), tmp_path).uri == "http://localhost:5000"
