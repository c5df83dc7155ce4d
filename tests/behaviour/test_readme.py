"""The README's first tenant, by the README's own commands, on the built-in base, with fewer steps and test examples."""

import re
import shlex
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


def test_the_first_tenant_of_the_readme_ends_as_champion(make_checkout, call):
    root = make_checkout(())
    shutil.copytree(PROJECT / "examples", root / "examples")
    shutil.copytree(PROJECT / "base", root / "base", dirs_exist_ok=True)
    params = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    for written, quick in (("  max_steps: 200 ", "  max_steps: 80 "), ("  max_examples: null ", "  max_examples: 40 ")):
        assert written in params
        params = params.replace(written, quick)
    (root / "params.yaml").write_text(params, encoding="utf-8")
    commands = _read_commands()
    assert [command.split()[1] for command in commands] == ["-p", "data", "retrain", "status", "generate"]
    run_in(root, "bash", "-c", commands[0])
    outputs = []
    for command in commands[1:]:
        done = call(root, *shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        outputs.append(done.stdout)
    retrained, status, generated = outputs[1:]
    assert "1 trained, 1 promoted of 1 tenants" in retrained
    assert "rejected" not in retrained
    assert "acme" in status
    assert "Blue Kettle" in generated
