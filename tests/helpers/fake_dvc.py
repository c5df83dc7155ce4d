"""A fake of DVC's commands for intakes: a pointer has a digest of the folder, a push copies the pointer."""

import hashlib
import os
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
    return hashlib.md5(repr(sorted(read_tree(folder).items())).encode()).hexdigest()


def read_version(workspace: Path) -> str:
    """Return the digest in data.dvc."""
    return str(yaml.safe_load((workspace / "data.dvc").read_text())["outs"][0]["md5"])


def fake_add(workspace: Path, target: str) -> None:
    pointer = {"outs": [{"md5": compute_digest(workspace / target), "path": target}]}
    (workspace / f"{target}.dvc").write_text(yaml.safe_dump(pointer))
    (workspace / ".gitignore").write_text("/data\n/data.tmp\n")


def fake_push(workspace: Path, target: str) -> None:
    (workspace / "pushed").write_text((workspace / target).read_text())


def fake_is_clean(workspace: Path) -> bool:
    return compute_digest(workspace / "data") == read_version(workspace)
