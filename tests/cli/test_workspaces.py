"""`init` says what it made and what comes next; `upgrade` prints a patch and exits 1 if there is one."""

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.rollout.store.migrations import SCHEMA


@pytest.fixture
def invoke():
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_init_says_what_it_made_and_upgrade_shows_a_patch_where_files_differ(invoke, tmp_path):
    root = tmp_path / "fleet"
    made = invoke("init", root, "--demo")
    assert made.exit_code == 0, made.output
    assert f"made a workspace in {root}; base: base" in made.output.replace("\n", "")
    assert "no DVC remote" in made.output
    assert f"next: cd {root} && prefixfleet retrain" in made.output.replace("\n", "")
    assert len(list((root / "drops").iterdir())) == 4

    same = invoke("-C", root, "upgrade")
    assert (same.exit_code, "has all that a new one has" in same.output) == (0, True)
    (root / "prefect.yaml").unlink()
    different = invoke("-C", root, "upgrade")
    assert different.exit_code == 1
    assert "--- /dev/null\n+++ b/prefect.yaml\n" in different.output

    check = invoke("-C", root, "upgrade", "--check")
    assert (check.exit_code, "files: see `prefixfleet upgrade`" in check.output) == (1, True)
    tables = invoke("-C", root, "upgrade", "--tables")
    assert (tables.exit_code, "revision none; applied: 0001" in tables.output) == (0, True)
    tables = invoke("-C", root, "upgrade", "--tables", "--contract")
    assert f"revision {SCHEMA.head}; applied: nothing" in tables.output.replace("\n", " ")
    for wrong in (("--contract",), ("--check", "--tables")):
        assert invoke("-C", root, "upgrade", *wrong).exit_code == 2

    again = invoke("init", root)
    assert again.exit_code == 2
