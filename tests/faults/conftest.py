"""What the tests of bad input share: the command line, its three beats, and a workspace with a champion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.stages import register
from components.stages.plan import plan
from components.stages.workspace import Workspace


def check_beats(code: int, told: str, *words: str) -> None:
    """Exit code 2, the three beats in their order, no stack trace, and these words."""
    assert code == 2, told
    assert "Traceback" not in told
    beats = [line.split(":")[0] for line in told.splitlines() if line.startswith(("wanted:", "got:", "fix:"))]
    assert beats == ["wanted", "got", "fix"], told
    for word in words:
        assert word in told, told


@pytest.fixture
def refused(call: Callable[..., Any]) -> Callable[..., None]:
    """A function that runs a command which must end with three beats that have these words."""

    def check(root: Path, arguments: list[str], *words: str) -> None:
        told = call(root, *arguments)
        check_beats(told.exit_code, told.stderr, *words)

    return check


@pytest.fixture(name="check_beats")
def _check_beats() -> Callable[..., None]:
    return check_beats


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """A function to the files of a workspace; without var/, which holds the lock and the tools' own files."""

    def files(root: Path) -> dict[str, bytes]:
        found = (path for path in root.rglob("*") if path.is_file())
        named = {path.relative_to(root).as_posix(): path for path in found}
        own = ("var/", ".git/", ".dvc/tmp/")
        return {name: path.read_bytes() for name, path in named.items() if not name.startswith(own)}

    return files


@pytest.fixture
def served(make_root: Callable[..., Path], call: Callable[..., Any]) -> Path:
    """A workspace whose tenant alder has a champion, on a base that is not yet touched."""
    root = make_root(("alder",))
    for stage in ("base", "train", "evaluate", "gate"):
        told = call(root, "stage", stage)
        assert told.exit_code == 0, told.output
    place = Workspace(root)
    register.roll_out(place, register.register(place, plan(place).collect_fingerprints())[0], [])
    return root


@pytest.fixture
def registered() -> Callable[[Path], Path]:
    """A function to the folder in MLflow's artifact store that holds alder's champion."""

    def folder(root: Path) -> Path:
        sha256 = json.loads((root / "out/train/alder/manifest.json").read_text())["sha256"]
        (found,) = (root / "var/mlflow/artifacts").glob("**/manifest.json")
        assert json.loads(found.read_text())["sha256"] == sha256
        return found.parent

    return folder
