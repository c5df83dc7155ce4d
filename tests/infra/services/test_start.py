"""The order of a start, and what is said of a busy port or of a service that ends at its start."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import find_free_port

from components.errors import WorkspaceError
from infra.services.process_table import ProcessTable
from infra.services.service import Service
from infra.services.settings import read_settings
from infra.services.start import start_services, stop_services


def describe(tmp_path: Path, name: str, code: str = "import time; time.sleep(600)", **values: Any) -> Service:
    defaults = {"description": "", "environment": {}, "folder": tmp_path, "is_ready": lambda pid: True}
    return Service(name=name, command=[sys.executable, "-c", code], **{**defaults, **values})


@pytest.fixture
def table(tmp_path):
    table = ProcessTable(tmp_path)
    yield table
    stop_services(table, lambda line: None)


def test_waves_start_in_order_and_a_second_start_has_nothing_to_do(tmp_path, table):
    done: list[str] = []
    settings = read_settings(tmp_path)
    waves = [
        [describe(tmp_path, "store", finish=lambda: done.append("store is ready"))],
        [describe(tmp_path, "server", prepare=lambda: done.append("server starts"))],
    ]
    assert start_services(settings, waves, table, done.append)
    assert done == ["store is ready", "store: ready", "server starts", "server: ready"]
    before = [(name, one.process.pid) for name, one in table.list_all()]
    assert not start_services(settings, waves, ProcessTable(tmp_path), done.append)
    assert [(name, one.process.pid) for name, one in ProcessTable(tmp_path).list_all()] == before


def test_what_follows_the_start_is_done_again_if_it_failed(tmp_path, table):
    def fail() -> None:
        raise WorkspaceError("buckets", "none", "make them")

    settings = read_settings(tmp_path)
    with pytest.raises(WorkspaceError, match="buckets"):
        start_services(settings, [[describe(tmp_path, "store", finish=fail)]], table, lambda line: None)
    done: list[str] = []
    finish = [[describe(tmp_path, "store", finish=lambda: done.append("buckets"))]]
    assert start_services(settings, finish, table, lambda line: None)
    assert done == ["buckets"]


def test_a_service_that_ends_at_its_start_shows_the_end_of_its_log(tmp_path, table):
    broken = describe(tmp_path, "store", "raise SystemExit('no disk for me')", is_ready=lambda pid: False)
    with pytest.raises(
        WorkspaceError, match=r"store to start; got it ended; the end of .*store.log:\n  no disk for me"
    ):
        start_services(read_settings(tmp_path), [[broken]], table, lambda line: None)


def test_a_busy_port_is_named_with_its_variable_before_anything_is_started(tmp_path, table):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        free = describe(tmp_path, "store", ports={"STORE_PORT": find_free_port()})
        busy = describe(tmp_path, "server", ports={"SERVER_PORT": port})
        with pytest.raises(WorkspaceError, match=rf"SERVER_PORT={port}; .*another port in .*settings.env"):
            start_services(read_settings(tmp_path), [[free], [busy]], table, lambda line: None)
    assert table.list_all() == []
