"""The tutorial by its own commands, on the built-in base, with fewer test examples and mostly fewer steps."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from doc_pages import SHELL_BLOCK
from forked_script import write_forked_scripts
from processes import find_free_port, make_environment, start_command
from waiting import wait_until
from workspaces import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def read_steps(port: int) -> dict[str, list[str]]:
    """Return the heading of each part of the page -> its blocks of commands, with another port."""
    parts = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.split("\n")[0]: SHELL_BLOCK.findall(part.replace("8000", str(port))) for part in parts}


def run(folder: Path, commands: str, code: int = 0) -> str:
    """Run a block of commands in a shell, which ends at the first that fails; return what they have written."""
    names = [f"GIT_{role}_{key}" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")]
    environment = {**make_environment(), **dict.fromkeys(names, "t@example.com")}
    environment["PATH"] = f"{write_forked_scripts()}{os.pathsep}{environment['PATH']}"
    command = ["bash", "-e", "-c", commands]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def set_steps(root: Path, steps: int) -> None:
    """Train for so many steps, validate once, and evaluate on fewer examples."""
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["train"] |= {"max_steps": steps, "validate_every": steps}
    values["evaluate"] |= {"max_examples": 24, "bootstrap_samples": 200}
    values["gate"] |= {"bootstrap_samples": 200}
    (root / "params.yaml").write_text(yaml.safe_dump(values))


def test_the_tutorial_trains_serves_improves_refuses_and_rolls_back(tmp_path):
    shutil.copytree(PROJECT / "examples", tmp_path / "prefixfleet" / "examples")
    steps, root = read_steps(find_free_port()), tmp_path / "shop"
    run(tmp_path, *steps["Make a workspace"])
    set_steps(root, 60)
    assert "No line would be rejected" in run(root, *steps["Deliver data"])
    assert "1 trained, 1 promoted of 1 tenants" in run(root, *steps["Train, gate, roll out"])
    serve, ask = steps["Serve"]
    with start_command(root, *serve.split()[1:]) as server:
        server.read_until("serving on")

        def find_version() -> str:
            answer = run(root, ask)
            if " 503 " in answer.splitlines()[0]:
                assert "still being loaded" in answer
                return ""
            assert "Blue Kettle" in answer
            return re.findall(r"^x-prefixfleet-version: (\d+)", answer, re.MULTILINE)[0]

        wait_until(lambda: find_version() == "1", "the server to load the base")
        set_steps(root, 90)
        improved = run(root, *steps["A better version"])
        assert "1 trained, 1 promoted of 1 tenants" in improved
        wait_until(lambda: find_version() == "2", "the server to follow the second version")
        set_steps(root, 10)
        deliver, retrain = steps["A worse version is refused"]
        assert "No line would be rejected" in run(root, deliver)
        assert "BLEU" in run(root, retrain, code=3)
        assert find_version() == "2"
        assert "rollback" in run(root, *steps["Roll back"])
        wait_until(lambda: find_version() == "1", "the server to follow the rollback")
