"""Prefect's local server: it answers, ends with its parent, and the reason of its end is told."""

import os
import signal

import httpx
import psutil
import pytest

from components.errors import WorkspaceError
from flows.local_server import LocalServer


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    return tmp_path / "prefect"


@pytest.mark.slow
def test_it_answers_in_a_session_of_its_own_until_it_is_stopped(give_prefect_tables, home):
    give_prefect_tables(home)
    server = LocalServer(home)
    try:
        server.wait(300)
        process = psutil.Process(server._process.pid)
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        assert httpx.get(f"{server.address}/health").is_success
    finally:
        server.stop()
    assert not process.is_running()
    assert server._process.returncode in (0, -signal.SIGTERM)  # uvicorn raises the signal again after it has shut down
    server.stop()


def test_a_server_that_ends_is_told_with_its_signal_and_its_log(home):
    server = LocalServer(home)
    os.kill(server._process.pid, signal.SIGKILL)
    with pytest.raises(WorkspaceError, match="signal SIGKILL") as problem:
        server.wait(300)
    assert str(home / "server.log") in problem.value.fix
    assert "disk" not in str(problem.value)
    server.stop()


def test_the_last_line_of_its_log_is_the_reason_if_it_does_not_start(home, monkeypatch):
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense://")
    server = LocalServer(home)
    with pytest.raises(WorkspaceError, match=r"the server ended \(exit code \d+\): .*nonsense"):
        server.wait(300)
    server.stop()


def test_what_it_wrote_is_no_reason_while_it_runs(home):
    server = LocalServer(home)
    assert server.make_error("no answer").got == "no answer"
    server.stop()


def test_without_space_for_the_log_the_output_is_dropped(home):
    (home / "server.log").mkdir(parents=True)
    server = LocalServer(home)
    server.stop()
