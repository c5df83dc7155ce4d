"""Addresses that do not answer are noticed after a short timeout, and SQLite gets its write-ahead log."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow import probe
from components.registry.registry import Registry


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_CONNECT_SECONDS", 1)


@pytest.mark.usefixtures("short_timeout")
def test_a_server_that_never_answers_times_out(tmp_path: Path, silent_port: int) -> None:
    registry = Registry(RegistryConfig(tracking_uri=f"http://127.0.0.1:{silent_port}"), tmp_path)
    with pytest.raises(RegistryError, match="timed out"):
        registry.find_champions()


@pytest.mark.usefixtures("short_timeout")
def test_the_error_on_an_unreachable_database_hides_its_password(tmp_path: Path, silent_port: int) -> None:
    uri = f"postgresql://joe:secret@127.0.0.1:{silent_port}/mlflow"
    with pytest.raises(RegistryError) as unreachable:
        Registry(RegistryConfig(tracking_uri=uri), tmp_path).find_champions()
    assert "secret" not in str(unreachable.value)
    assert "joe:***@" in str(unreachable.value)


def test_a_database_keeps_a_write_ahead_log(registry: Registry) -> None:
    registry.find_remaining("nobody")  # opens MLflow's client; reading versions does not
    with closing(sqlite3.connect(registry.uri.removeprefix("sqlite:///"))) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
