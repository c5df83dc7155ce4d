"""A fake of DVC's commands for intakes: a pointer has a digest of the folder, a push copies the pointer."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import yaml


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return relative path -> content of all files below a folder; links are followed."""
    return {
        (Path(parent) / name).relative_to(folder).as_posix(): (Path(parent) / name).read_bytes()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if (Path(parent) / name).is_file()
    }


def compute_digest(folder: Path) -> str:
    """Return the digest that stands for DVC's in a pointer."""
    return _compute_digest(read_tree(folder))


def _compute_digest(tree: dict[str, bytes]) -> str:
    return hashlib.md5(repr(sorted(tree.items())).encode()).hexdigest()


def read_version(workspace: Path) -> str:
    """Return the digest in data.dvc."""
    return str(yaml.safe_load((workspace / "data.dvc").read_text())["outs"][0]["md5"])


def fake_add(workspace: Path, target: str) -> None:
    _write_pointer(workspace, target, compute_digest(workspace / target))
    (workspace / ".gitignore").write_text("/data\n/data.tmp\n")


def fake_add_changes(workspace: Path, target: str, tenants: Collection[str]) -> bool:
    """As `fake_add`, of a folder that has these tenants' folders alone."""
    assert {path.name for path in (workspace / target).iterdir()} <= set(tenants)
    present = read_tree(workspace / "data").items()
    kept = {name: content for name, content in present if name.partition("/")[0] not in tenants}
    _write_pointer(workspace, target, _compute_digest(kept | read_tree(workspace / target)))
    return True


def _write_pointer(workspace: Path, target: str, digest: str) -> None:
    pointer = {"outs": [{"md5": digest, "path": target}]}
    (workspace / f"{target}.dvc").write_text(yaml.safe_dump(pointer))


def fake_push(workspace: Path, target: str) -> None:
    (workspace / "pushed").write_text((workspace / target).read_text())


def fake_is_clean(workspace: Path) -> bool:
    return compute_digest(workspace / "data") == read_version(workspace)
