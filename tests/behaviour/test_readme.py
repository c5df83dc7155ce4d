"""The README's first tenant, by the README's own commands, on the built-in base and the project's params.yaml."""

import re
import shutil

import pytest
from processes import run_in
from workspaces import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]

_SECTION = "## A first tenant"


def _read_commands():
    """Return the commands in the numbered steps of the README's section, except `serve`, which does not end."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8").split(_SECTION)[1].split("\n## ")[0]
    spans = re.findall(r"`((?:mkdir|prefixfleet) [^`]+)`", text)
    return [" ".join(span.split()) for span in spans if span != "prefixfleet serve"]


def test_the_first_tenant_of_the_readme_ends_as_champion(make_checkout):
    root = make_checkout(())
    shutil.copytree(PROJECT / "examples", root / "examples")
    shutil.copytree(PROJECT / "base", root / "base", dirs_exist_ok=True)
    shutil.copy(PROJECT / "params.yaml", root)
    commands = _read_commands()
    assert [command.split()[1] for command in commands] == ["-p", "data", "retrain", "status", "generate"]
    outputs = {command: run_in(root, "bash", "-c", command).stdout for command in commands}
    retrained, status, generated = (outputs[command] for command in commands[2:])
    assert "1 trained, 1 promoted of 1 tenants" in retrained
    assert "rejected" not in retrained
    assert "acme" in status
    assert "Blue Kettle" in generated
