import os
from pathlib import Path

import pytest

from components.evaluation.suites import java


@pytest.fixture(scope="session")
def with_java():
    if (problem := java.find_problem()) is not None:
        pytest.skip(": ".join(problem))


@pytest.fixture
def failing_java(monkeypatch, tmp_path):
    """A `java` on PATH that has a version, and fails with `no memory` at everything else."""
    pytest.importorskip("pycocoevalcap", reason="the extra `metrics` is not installed")
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\ncase \"$*\" in -version) exit 0;; esac\necho 'no memory' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.fixture(scope="session")
def published():
    """The folder of the published data sets."""
    folder = os.environ.get("PREFIXFLEET_TEST_DATA")
    if not folder:
        pytest.skip("PREFIXFLEET_TEST_DATA does not name a folder with e2e-dataset.zip and e2e-tgen-outputs/")
    return Path(folder)


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of this name and content and returns its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
