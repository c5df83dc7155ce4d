"""Removing a tenant from the dataset, with a fake of DVC."""

from pathlib import Path

import pytest
from fake_dvc import compute_digest, read_tree, read_version

from components.data import dvc
from components.data.removal import remove_from_dataset
from components.errors import WorkspaceError


def test_the_new_version_lacks_only_the_tenant(fake_workspace: Path) -> None:
    before = read_tree(fake_workspace / "data")
    assert remove_from_dataset(fake_workspace, "a", push=True)
    after = read_tree(fake_workspace / "data")
    assert after == {name: content for name, content in before.items() if not name.startswith("a/")}
    assert read_version(fake_workspace) == compute_digest(fake_workspace / "data")
    assert (fake_workspace / "pushed").is_file()


def test_a_tenant_without_data_changes_nothing(fake_workspace: Path) -> None:
    before = read_tree(fake_workspace)
    assert not remove_from_dataset(fake_workspace, "half", push=True)
    (fake_workspace / "data.dvc").unlink()
    assert not remove_from_dataset(fake_workspace, "a", push=True)
    assert read_tree(fake_workspace) == {name: text for name, text in before.items() if name != "data.dvc"}


def test_a_failed_push_keeps_the_old_version(fake_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(workspace: Path, target: str) -> None:
        raise WorkspaceError("a remote", "none", "add one")

    before = read_tree(fake_workspace)
    monkeypatch.setattr(dvc, "push", fail)
    with pytest.raises(WorkspaceError):
        remove_from_dataset(fake_workspace, "a", push=True)
    assert read_tree(fake_workspace) == before
