"""The targets of the Makefile, the errors of `make setup`, and the exit status of .ci/run, in temporary folders."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["services", "services-stop", "demo-fleet"]
TARGETS = [
    "setup",
    "demo",
    *SERVICES,
    "test",
    "test-slow",
    "setup-vllm",
    "test-vllm",
    "docs",
    "check",
    "check-kubernetes",
    "check-terraform",
    "image",
    "check-image",
    "sbom",
    "audit",
    "licences",
    "format",
    "bench",
    "gpu-wheels",
    "base",
    "clean",
]


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Without the variables of the make that runs the tests, which would pass its flags on.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=60, check=False
    )


def write_script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that `make setup` reads, without an environment."""
    for name in ["Makefile", "requirements.lock", "pyproject.toml"]:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_help_is_the_default_and_lists_every_target(checkout):
    result = run("make", cwd=checkout)
    assert result.returncode == 0
    listed = [line.split()[1] for line in result.stdout.splitlines()]
    assert listed == ["help", *TARGETS]


def test_setup_refuses_an_old_python_in_three_beats(checkout):
    old = write_script(checkout / "old", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    result = run("make", "setup", f"PYTHON={old}", cwd=checkout)
    assert result.returncode != 0
    assert "wanted: Python 3.11 or newer; got: Python 3.9.2; fix: make setup PYTHON=" in result.stderr
    assert not (checkout / ".venv").exists()


def test_setup_refuses_a_missing_python(checkout):
    result = run("make", "setup", "PYTHON=no-such-python", cwd=checkout)
    assert result.returncode != 0
    assert "got: no no-such-python; fix:" in result.stderr


def test_setup_refuses_a_python_without_venv(checkout):
    bare = write_script(checkout / "bare", 'case "$2" in *ensurepip*) exit 1;; esac')
    result = run("make", "setup", f"PYTHON={bare}", cwd=checkout)
    assert result.returncode != 0
    assert "wanted: Python with venv" in result.stderr
    assert not (checkout / ".venv").exists()


def test_setup_installs_once_and_again_when_the_lock_changes(checkout):
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    write_script(python, 'echo "$@" >> calls')
    assert run("make", "setup", cwd=checkout).returncode == 0
    calls = (checkout / "calls").read_text(encoding="utf-8")
    assert "-r requirements.lock" in calls
    assert "--no-deps --no-build-isolation -e ." in calls

    assert run("make", "setup", cwd=checkout).returncode == 0
    assert (checkout / "calls").read_text(encoding="utf-8") == calls

    later = (checkout / ".venv/.installed").stat().st_mtime + 10
    os.utime(checkout / "requirements.lock", (later, later))
    assert run("make", "setup", cwd=checkout).returncode == 0
    assert (checkout / "calls").read_text(encoding="utf-8") == calls * 2


def test_a_failed_installation_makes_setup_fail(checkout):
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    write_script(python, "exit 1")
    assert run("make", "setup", cwd=checkout).returncode != 0
    assert not (checkout / ".venv/.installed").exists()


CI_TARGETS = ["test", "test-slow", "check", "sbom", "setup-vllm", "test-vllm"]


def run_ci(folder: Path, failing: str | None, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    rules = [f"{name}:\n\t@echo {name}; exit {int(name == failing)}\n" for name in CI_TARGETS]
    (folder / "Makefile").write_text("".join(rules), encoding="utf-8")
    return run(str(folder / ".ci/run"), cwd=ROOT, **environment)


@pytest.mark.parametrize("failing", [None, "test", "test-slow", "check", "sbom", "test-vllm"])
def test_ci_runs_all_targets_and_fails_if_any_fails(tmp_path, failing):
    result = run_ci(tmp_path, failing)
    assert (result.returncode != 0) == (failing is not None)
    assert result.stdout.split() == CI_TARGETS


@pytest.mark.parametrize(
    ("failing", "latest_s", "words"),
    [("setup-vllm", "1500", "its environment could not be installed"), (None, "-1", "CI has taken 0 minutes already")],
)
def test_ci_skips_the_tests_with_vllm_by_name_without_their_environment_or_time(tmp_path, failing, latest_s, words):
    result = run_ci(tmp_path, failing, VLLM_LATEST_SECONDS=latest_s)
    assert result.returncode == 0
    assert "test-vllm" not in result.stdout.split()
    assert f"make test-vllm is skipped: {words}" in result.stderr


def test_ci_leaves_the_bill_of_materials_out_by_name_where_no_time_is_left(tmp_path):
    result = run_ci(tmp_path, None, SBOM_LATEST_SECONDS="-1")
    assert result.returncode == 0
    assert result.stdout.split() == [name for name in CI_TARGETS if name != "sbom"]
    assert "make sbom is skipped: CI has taken 0 minutes already" in result.stderr
