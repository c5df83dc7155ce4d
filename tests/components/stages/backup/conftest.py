"""A fleet of one tenant with a champion, without git and DVC, and the folder for its backups."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stage_chain import run_chain


@pytest.fixture(scope="session")
def trained_fleet(tmp_path_factory: pytest.TempPathFactory, make_root_in: Callable[..., Path]) -> Path:
    """The folder that holds the workspace; it is copied, never changed."""
    folder = tmp_path_factory.mktemp("fleet")
    run_chain(make_root_in(folder, ("alder",)))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> str:
    """Where backups go."""
    return str(tmp_path / "backups")
