"""The command `status`: rows, summary, selection, JSON, and what it says without data or without a workspace."""

import json
import re

import pytest

KEYS = {
    "tenant",
    "state",
    "reason",
    "notes",
    "champion",
    "bleu",
    "trial",
    "pinned",
    "verdict",
    "failure",
    "examples",
    "data_digest",
    "drift",
}


def test_a_workspace_without_versions_has_a_row_for_each_tenant_and_a_summary(call, make_root, write_tenant):
    root = make_root(("alder", "birch"))
    write_tenant(root / "drops", "cedar")
    result = call(root, "status")
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if "no prefix yet" in line]
    assert [row.split()[0] for row in rows] == ["alder", "birch"]
    assert all("12/4/6" in row for row in rows)
    assert result.stdout.splitlines()[-2] == "2 tenants: 2 new"
    assert result.stdout.splitlines()[-1].startswith("1 drop waits: cedar; `prefixfleet data take`")


def test_json_has_the_documented_keys(call, make_root, write_tenant):
    root = make_root(("alder",))
    write_tenant(root / "drops", "cedar")
    status = json.loads(call(root, "status", "--json").stdout)
    (tenant,) = status.pop("tenants")
    assert status == {"counts": {"new": 1}, "drops": ["cedar"]}
    assert tenant.keys() == KEYS
    assert (tenant["state"], tenant["champion"], tenant["examples"]["train"]) == ("new", None, 12)


def test_only_named_tenants_and_states_are_shown_and_unknown_ones_are_errors(call, make_root):
    root = make_root(("alder", "birch"))
    assert "alder" not in call(root, "status", "--tenant", "birch").stdout
    result = call(root, "status", "--tenant", "aldr")
    assert result.exit_code == 2
    assert "did you mean 'alder'?" in result.stderr
    assert "birch" in call(root, "status", "--only", "healthy,new").stdout
    assert call(root, "status", "--only", "trouble").stdout == "2 tenants: 2 new\n"
    result = call(root, "status", "--only", "troubles")
    assert result.exit_code == 2
    assert "fix:    choose from broken, foreign, failed" in result.stderr


def test_a_terminal_shows_fifty_tenants_unless_all_are_asked_for(monkeypatch, capsys):
    from cli import status as command
    from components.config import Params
    from components.stages.reports import fleet_status
    from components.stages.reports import status as stage

    rows = [
        fleet_status.TenantStatus(
            tenant=f"t{number}",
            state="stale" if number < 3 else "healthy",
            reason="data changed" if number < 3 else "",
            notes=(),
            champion="1",
            bleu=50.0,
            trial=None,
            pinned=False,
            verdict=None,
            failure=None,
            examples=(1, 1, 1),
            data_digest="a",
        )
        for number in range(2000)
    ]
    monkeypatch.setattr(stage, "read_status", lambda *_: fleet_status.FleetStatus(rows, []))
    monkeypatch.setattr("components.stages.workspace.Workspace.__init__", lambda *_, **__: None)
    monkeypatch.setattr("components.stages.workspace.Workspace.params", Params(base={"path": "base"}))
    context = type("Context", (), {"obj": None})()
    command.status(context)
    assert capsys.readouterr().out.count("healthy") == 1998  # a pipe gets all
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    command.status(context)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 100
    assert lines[-2:] == [
        "and 1,950 healthy; `--all` shows them, `--only STATE` chooses",
        "2,000 tenants: 3 stale, 1,997 healthy",
    ]


@pytest.mark.parametrize(("made", "line"), [("drops", "1 drop waits"), ("data.dvc", "`dvc pull`"), ("", "data import")])
def test_a_workspace_without_data_says_what_to_do_next(call, make_root, write_tenant, made, line):
    root = make_root(())
    (root / "data.dvc").unlink()
    if made == "drops":
        write_tenant(root / "drops", "cedar")
    elif made:
        (root / made).touch()
    result = call(root, "status")
    assert result.exit_code == 0, result.output
    assert line in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "retrain",
        "demo",
        "rollout",
        "data take",
        "data check",
        "data import e2e x --tenant a",
        "history a",
        "promote a",
        "rollback a",
        "pause a",
        "pin a",
        "forget a --yes",
        "generate a b",
        "tune a",
        "export a --out b",
        "import a b",
        "stage base",
        "serve",
        "keys list",
    ],
)
def test_every_command_that_needs_a_workspace_says_that_a_folder_is_none(call, tmp_path, command):
    result = call(tmp_path, *command.split())
    assert result.exit_code == 2, result.output
    wanted, got, fix = result.stderr.splitlines()
    assert re.match("wanted: a (complete )?workspace", wanted)
    assert re.match(r"got:    (no params\.yaml|a folder without params\.yaml)", got)
    assert "run from the workspace's top folder" in fix
    assert list(tmp_path.iterdir()) == []
