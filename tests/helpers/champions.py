"""Workspaces in which each tenant has a champion: made by all stages, or copied from one that was."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from components.stages import evaluate, gate, register, train
from components.stages.base import read_base_facts
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace


def make_champions(root: Path) -> Path:
    """Run each stage as its own process would, register all tenants and roll them out; return the workspace."""
    read_base_facts(Workspace(root))
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(Workspace(root)))
    workspace = Workspace(root)
    versions, failures = register.register(workspace, plan(workspace).collect_fingerprints())
    assert failures == []
    register.roll_out(workspace, versions, [])
    return root


class ChampionCopies:
    """Copies of a workspace with champions, which is made for the first one."""

    def __init__(self, make: Callable[[], Path]) -> None:
        self._make = make
        self._made: Path | None = None

    def copy(self, root: Path) -> Path:
        """Copy it to a folder that does not exist yet."""
        self._made = self._made or make_champions(self._make())
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it for its process
        return Path(shutil.copytree(self._made, root, ignore=shutil.ignore_patterns("*-shm")))  # SQLite makes it anew
