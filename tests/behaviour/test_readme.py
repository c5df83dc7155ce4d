"""The README's first tenant, by the README's own commands, on the built-in base, with fewer steps of training."""

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
    params = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    assert "  max_steps: 200 " in params
    (root / "params.yaml").write_text(params.replace("  max_steps: 200 ", "  max_steps: 80 "), encoding="utf-8")
    commands = _read_commands()
    assert [command.split()[1] for command in commands] == ["-p", "data", "retrain", "status", "generate"]
    outputs = {command: run_in(root, "bash", "-c", command).stdout for command in commands}
    retrained, status, generated = (outputs[command] for command in commands[2:])
    assert "1 trained, 1 promoted of 1 tenants" in retrained
    assert "rejected" not in retrained
    assert "acme" in status
    assert "Blue Kettle" in generated
