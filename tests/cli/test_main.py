"""The list of commands: each has a help page, a wrong call exits 2, and importing it loads no heavy library."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import app

COMMANDS = (
    "demo",
    "base",
    "data",
    "retrain",
    "tune",
    "status",
    "promote",
    "rollback",
    "rollout",
    "history",
    "corrections",
    "pause",
    "pin",
    "forget",
    "generate",
    "export",
    "import",
    "stage",
    "score",
    "reproduce",
    "serve",
    "keys",
    "metrics",
)


def test_help_names_every_command_and_loads_no_heavy_library():
    script = (
        "import sys, cli.main; print(sorted({'torch', 'mlflow', 'prefect', 'transformers', 'dvc'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        *(command for command in COMMANDS if command not in ("base", "data")),
        "base check",
        "base convert",
        "data import",
        "data check",
        "data take",
    ],
)
def test_every_command_has_a_help_page(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


@pytest.mark.parametrize("arguments", [["nonsense"], ["promote"], ["stage", "nothing"], ["retrain", "--no-such-flag"]])
def test_a_wrong_call_exits_2(call, tmp_path, arguments):
    assert call(tmp_path, *arguments).exit_code == 2


def test_an_error_is_printed_as_three_beats_and_exits_2(call, make_root, set_params):
    root = make_root()
    set_params(root, train={"prefix_lenght": 3})
    result = call(root, "stage", "train")
    assert result.exit_code == 2
    assert "wanted:" in result.stderr
    assert "prefix_lenght" in result.stderr
    assert "fix:    did you mean 'prefix_length'?" in result.stderr
    assert "Traceback" not in result.output


def test_a_format_of_logs_that_does_not_exist_is_an_error_before_anything_runs(monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_LOG_FORMAT", "xml")
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 2
    assert "PREFIXFLEET_LOG_FORMAT='xml'" in result.stderr
