"""Fixtures for the tests of faults: commands that must fail with three beats, and a workspace with a champion."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from champions import ChampionCopies
from processes import run_in

_LIMITED = """
import resource, sys
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
del sys.argv[1]
from cli.main import main
main()
"""


def check_beats(code: int, stderr: str, *words: str) -> None:
    """Check for exit code 2, the three beats in their order, no stack trace, and each of `words`."""
    assert code == 2, stderr
    assert "Traceback" not in stderr
    beats = [line.split(":")[0] for line in stderr.splitlines() if line.startswith(("wanted:", "got:", "fix:"))]
    assert beats == ["wanted", "got", "fix"], stderr
    for word in words:
        assert word in stderr, stderr


@pytest.fixture
def refused(call: Callable[..., Any]) -> Callable[..., None]:
    """A function that runs a command and checks that it fails with three beats that contain each of `words`."""

    def check(root: Path, arguments: list[str], *words: str) -> None:
        result = call(root, *arguments)
        check_beats(result.exit_code, result.stderr, *words)

    return check


@pytest.fixture(name="check_beats")
def _check_beats() -> Callable[..., None]:
    return check_beats


@pytest.fixture
def run_on_full_disk() -> Callable[..., Any]:
    """A function that runs a command which cannot write files beyond a size; writing then fails as on a full disk."""
    return lambda root, limit_bytes, *arguments: run_in(
        root, sys.executable, "-c", _LIMITED, str(limit_bytes), *arguments, check=False
    )


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """A function that reads all files of a workspace: path -> content; without var/, .git/ and .dvc/tmp/."""

    def files(root: Path) -> dict[str, bytes]:
        paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        ignored = ("var/", ".git/", ".dvc/tmp/")
        return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(ignored)}

    return files


@pytest.fixture(scope="session")
def champion_copies(make_root_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> ChampionCopies:
    """Copies of a workspace whose tenant alder has a champion."""
    return ChampionCopies(lambda: make_root_in(tmp_path_factory.mktemp("champion"), ("alder",)))


@pytest.fixture
def served(tmp_path: Path, champion_copies: ChampionCopies) -> Path:
    """A workspace whose tenant alder has a champion."""
    return champion_copies.copy(tmp_path / "workspace")


@pytest.fixture
def registered() -> Callable[[Path], Path]:
    """A function that returns the folder of alder's champion in MLflow's artifact store."""

    def folder(root: Path) -> Path:
        sha256 = json.loads((root / "out/train/alder/manifest.json").read_text())["sha256"]
        (manifest,) = (root / "var/mlflow/artifacts").glob("**/manifest.json")
        assert json.loads(manifest.read_text())["sha256"] == sha256
        return manifest.parent

    return folder
