import os
import sys
from pathlib import Path

import pytest

from flows.environment import prepare_environment


@pytest.fixture
def bare(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OMP_", "PREFECT_", "DO_NOT_TRACK", "DVC_NO", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/usr/bin")
    return monkeypatch


def test_telemetry_is_off_and_prefect_writes_into_the_workspace(bare, tmp_path):
    prepare_environment(tmp_path)
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DVC_NO_ANALYTICS"] == "1"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "var" / "prefect")
    assert not any(tmp_path.iterdir())


def test_what_the_user_has_set_stays(bare, tmp_path):
    bare.setenv("PREFECT_HOME", "/elsewhere")
    bare.setenv("DO_NOT_TRACK", "false")
    prepare_environment(tmp_path)
    assert os.environ["PREFECT_HOME"] == "/elsewhere"
    assert os.environ["DO_NOT_TRACK"] == "false"


def test_tools_beside_this_interpreter_are_found_first_and_once(bare, tmp_path):
    prepare_environment(tmp_path)
    prepare_environment(tmp_path)
    assert os.environ["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/usr/bin"
