"""A tenant's own objects in DVC's cache and remote, with the real DVC."""

import hashlib
from pathlib import Path

from components.data import dvc
from components.data.dvc_objects import delete_objects, find_owned_objects

STORES = ("DVC cache", "DVC remote local")


def write_split(workspace: Path, tenant: str, split: str, text: str) -> str:
    """Write a split file; return the name of its object."""
    path = workspace / "data" / tenant / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    return hashlib.md5(text.encode()).hexdigest()


def test_only_objects_that_no_other_tenant_shares_are_deleted(workspace: Path) -> None:
    old = write_split(workspace, "a", "train", "old")
    write_split(workspace, "a", "test", "shared")
    other = write_split(workspace, "b", "train", "other")
    shared = write_split(workspace, "b", "test", "shared")
    dvc.add_data(workspace)
    new = write_split(workspace, "a", "train", "new")
    dvc.add_data(workspace)
    dvc.push(workspace)
    assert find_owned_objects(workspace, "a") == {"DVC cache": sorted([old, new]), "DVC remote local": [new]}
    assert delete_objects(workspace, "a") == {"DVC cache": 2, "DVC remote local": 1}
    assert find_owned_objects(workspace, "a") == {store: [] for store in STORES}
    for store in (workspace / ".dvc" / "cache", workspace.with_name("remote")):
        names = {path.parent.name + path.name for path in store.rglob("*") if path.is_file()}
        assert {other, shared} <= names
        assert not {old, new} & names
    assert find_owned_objects(workspace, "unknown") == {store: [] for store in STORES}
