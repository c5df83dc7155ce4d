"""`python -m infra.images`: clear errors without an engine, and, if asked for, the image built and run for real."""

import os
import shlex
import shutil
from pathlib import Path

import pytest

from components.errors import WorkspaceError
from infra.images import engines, proofs
from infra.images.__main__ import main

OPT_IN = "PREFIXFLEET_TEST_IMAGE"


def write_engine(folder: Path, name: str, code: int) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {name} >&2\nexit {code}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_first_engine_that_answers_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkspaceError, match="docker, podman, buildah"):
        engines.find_engine()
    write_engine(tmp_path, "docker", 1)  # a client without its service
    write_engine(tmp_path, "buildah", 0)
    assert engines.find_engine() == "buildah"
    with pytest.raises(WorkspaceError, match="no answer of `docker info`"):
        engines.find_engine("docker")


def test_a_failed_build_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    write_engine(tmp_path, "podman", 0)
    assert main(["build", "--", "--pull"]) == 0
    assert "built prefixfleet:cpu by podman" in capfd.readouterr().out
    (tmp_path / "podman").write_text('#!/bin/sh\n[ "$1" = info ]\n', encoding="utf-8")
    assert main(["build"]) == 2
    assert "exit code 1 of `podman build" in capfd.readouterr().err


def test_docker_cannot_replace_the_base(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--engine", "docker", "--stand-in"]) == 2
    assert "choose podman or buildah" in capsys.readouterr().err


def test_missing_tools_and_rights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(WorkspaceError, match="got user 1000"):
        engines.require_root("for a test", [])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(WorkspaceError, match="no none-such on PATH"):
        engines.require_root("for a test", ["none-such"])


def test_the_proof_fails_for_a_user_who_may_write_outside_the_workspace(tmp_path: Path) -> None:
    assert proofs.can_write(tmp_path)
    assert not proofs.can_write(tmp_path / "none")
    with pytest.raises(SystemExit, match="failed: "):
        proofs.check_confinement()  # of this process, which has no read-only root


@pytest.mark.slow
def test_the_image_is_built_and_does_what_it_must() -> None:
    options = os.environ.get(OPT_IN)
    if options is None:
        pytest.skip(f"takes minutes and 8 GB: set {OPT_IN} to the options of the build, or to nothing")
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root, and {', '.join(missing) or 'nothing more'} (Debian: apt-get install)")
    assert main(["check", "--engine", "buildah", "--stand-in", "--", *shlex.split(options)]) == 0
