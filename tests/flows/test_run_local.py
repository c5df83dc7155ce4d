"""Flows in this process: errors of Prefect's server become errors for users, others are raised as they are."""

import os
import sys

import pytest

from components.errors import WorkspaceError
from flows import run_local


@pytest.fixture
def fail_to_start(monkeypatch, tmp_path):
    """A function that makes the start of Prefect's server raise an error."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))

    def set_error(problem):
        def fail(_home):
            raise problem

        monkeypatch.setattr(run_local, "_start_server", fail)

    return set_error


def test_an_error_of_the_local_server_names_its_log(fail_to_start, monkeypatch, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL")
    fail_to_start(RuntimeError("Timed out while starting the ephemeral Prefect API server\nmore"))
    with pytest.raises(WorkspaceError, match="a local Prefect server") as problem:
        run_local.run_flow("dataset", tmp_path, None)
    assert problem.value.got == "Timed out while starting the ephemeral Prefect API server"
    assert str(tmp_path / "prefect" / "server.log") in problem.value.fix


def test_an_error_of_the_server_at_an_address_names_the_address(fail_to_start, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    fail_to_start(RuntimeError("Failed to reach API at http://127.0.0.1:9/api"))
    with pytest.raises(WorkspaceError, match=r"a Prefect server at http://127\.0\.0\.1:9/api"):
        run_local.run_flow("dataset", tmp_path, None)


def test_other_errors_are_raised_unchanged(fail_to_start, tmp_path):
    fail_to_start(RuntimeError("a mistake in the code"))
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        run_local.run_flow("dataset", tmp_path, None)


def test_a_home_that_cannot_be_made_is_an_error_with_its_path(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "prefect"))
    with pytest.raises(WorkspaceError, match=str(tmp_path / "file")):
        run_local.run_flow("dataset", tmp_path, None)


def test_errors_of_background_imports_are_ignored():
    with run_local._import_in_background(["no_such_module", "colorsys"]):
        pass
    assert "colorsys" in sys.modules


def test_stderr_of_the_process_goes_to_a_file_and_is_restored(tmp_path, capfd):
    with run_local._redirect_stderr(tmp_path / "server.log"):
        os.write(2, b"from the server")
    os.write(2, b"afterwards")
    assert (tmp_path / "server.log").read_text() == "from the server"
    assert capfd.readouterr().err == "afterwards"
