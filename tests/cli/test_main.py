import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.stages import register, train
from components.stages.plan import plan
from components.stages.workspace import Workspace

COMMANDS = (
    "demo",
    "data",
    "retrain",
    "tune",
    "status",
    "promote",
    "rollback",
    "rollout",
    "history",
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
)


def test_help_names_every_command_and_loads_nothing_heavy():
    script = (
        "import sys, cli.main; print(sorted({'torch', 'mlflow', 'prefect', 'transformers', 'dvc'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
    told = CliRunner().invoke(app, ["--help"])
    assert told.exit_code == 0
    assert all(command in told.output for command in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS[:1], *COMMANDS[2:], "data import", "data check", "data take"])
def test_every_command_explains_itself(command):
    told = CliRunner().invoke(app, [*command.split(), "--help"])
    assert told.exit_code == 0
    assert len(told.output.splitlines()) > 5


@pytest.mark.parametrize("arguments", [["nonsense"], ["promote"], ["stage", "nothing"], ["retrain", "--no-such-flag"]])
def test_a_wrong_call_exits_2(call, tmp_path, arguments):
    assert call(tmp_path, *arguments).exit_code == 2


def test_errors_have_three_beats_and_exit_2(call, make_root, set_params):
    root = make_root()
    set_params(root, train={"prefix_lenght": 3})
    told = call(root, "stage", "train")
    assert told.exit_code == 2
    assert "wanted:" in told.stderr
    assert "prefix_lenght" in told.stderr
    assert "fix:    did you mean 'prefix_length'?" in told.stderr
    assert "Traceback" not in told.output


@pytest.mark.parametrize("tenant", ["../x", "a/b", "Upper", "a" * 200])
def test_bad_tenant_ids_exit_2(call, make_root, tenant):
    root = make_root(("alder",))
    for arguments in (["status", "--tenant", tenant], ["generate", tenant, "text"], ["promote", tenant]):
        told = call(root, *arguments)
        assert told.exit_code == 2, arguments
        assert "wanted:" in told.stderr
    source = root / "data" / "alder"
    assert call(root, "data", "import", "hub", str(source / "train.jsonl"), "--tenant", tenant).exit_code == 2
    assert not (root / "drops").exists()


def test_stages_then_status_promote_rollback_generate(call, make_root):
    root = make_root(("alder",))
    for stage in ("base", "train", "evaluate", "gate"):
        told = call(root, "stage", stage)
        assert told.exit_code == 0, told.output
    assert "no champion" in call(root, "status").stdout
    refused = call(root, "generate", "alder", "thing: boat")
    assert refused.exit_code == 2
    assert "a champion of alder" in refused.stderr
    place = Workspace(root)
    register.roll_out(place, register.register(place, plan(place).collect_fingerprints())[0], [])
    assert call(root, "promote", "alder", "--version", "1").exit_code == 0
    assert call(root, "rollback", "alder").exit_code == 2
    assert call(root, "pause", "alder").exit_code == 2
    for arguments in (["pin", "alder"], ["pin", "alder", "--off"]):
        assert call(root, *arguments).exit_code == 0
    told = call(root, "history", "alder").stdout
    assert [action for action in ("promote", "pin", "unpin", "rollback") if action in told] == [
        "promote",
        "pin",
        "unpin",
    ]
    unmoved = call(root, "history", "birch")
    assert unmoved.exit_code == 2
    assert "got:    birch, without any" in unmoved.stderr
    moves = [json.loads(line) for line in call(root, "history", "alder", "--json").stdout.splitlines()]
    assert [one["action"] for one in moves] == ["promote", "promote", "pin", "unpin"]
    assert call(root, "forget", "alder").exit_code == 1  # nobody says yes
    written = call(root, "generate", "alder", "thing: boat")
    assert written.exit_code == 0, written.output
    assert call(root, "generate", "alder", "  ").exit_code == 2
    assert call(root, "generate", "alder", "x" * 500).exit_code == 2


def test_a_second_run_is_refused(call, make_root):
    root = make_root(("alder",))
    with Workspace(root).lock():
        told = call(root, "stage", "train")
    assert told.exit_code == 2
    assert "another run (process" in told.stderr


def test_a_stage_with_a_failed_tenant_exits_2_and_keeps_the_others(call, make_root):
    root = make_root(("alder", "birch"), tenants={"birch": {"train": {"learning_rate": 1e30}}})
    told = call(root, "stage", "train")
    assert told.exit_code == 2
    assert "1 failed (birch:" in told.stderr
    assert (root / "out/train/alder/manifest.json").is_file()


def test_ctrl_c_says_what_comes_next(call, make_root, monkeypatch):
    root = make_root(("alder",))

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "report_progress", stop)
    told = call(root, "stage", "train")
    assert told.exit_code == 130
    assert "resumes alder at step 2" in told.stderr


def test_an_import_waits_as_a_drop_and_a_second_one_does_not_run_over_it(call, make_root):
    root = make_root(("alder",))
    source = str(root / "data" / "alder" / "train.jsonl")
    options = ["-o", "source_field=source", "-o", "reference_field=references", "--no-take"]
    told = call(root, "data", "import", "hub", source, "--tenant", "new", *options)
    assert told.exit_code == 0, told.output
    assert "prefixfleet data take" in told.stdout
    assert (root / "drops/new/train.jsonl").is_file()
    told = call(root, "data", "check")
    assert told.exit_code == 1
    assert "the drop of new would be refused: " in told.stdout
    assert "add validation.jsonl to the drop" in told.stdout
    again = call(root, "data", "import", "hub", source, "--tenant", "new", *options)
    assert again.exit_code == 2
    assert "no drop of new waiting" in again.stderr
    with (root / "drops/new/train.jsonl").open("a") as stream:
        stream.write("{broken\n")
    told = call(root, "data", "check")
    assert told.exit_code == 1
    assert "train.jsonl:13" in told.stdout
