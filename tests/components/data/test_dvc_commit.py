"""The records of a remembering `dvc commit` are those of DVC's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.data.dvc import commit, is_clean
from components.data.dvc_commit import remember_builds
from components.errors import WorkspaceError

_PIPELINE = """
stages:
  first:
    cmd: "true"
    deps: [data]
    outs: [out/first]
  second:
    cmd: "true"
    deps: [data, out/first]
    outs: [out/second]
    metrics:
      - out/second.json: {cache: false}
"""


def test_a_folder_is_read_once_and_a_dry_reading_is_not_stored() -> None:
    read: list[tuple[str, bool]] = []

    def build(_odb: Any, path: str, _fs: Any, _name: str, *, dry_run: bool = False, **_: Any) -> Any:
        read.append((path, dry_run))
        return "staging", {"size": 1}, path

    once = remember_builds(build)
    odb, fs = object(), object()
    for dry_run in (True, True, False, True):
        assert once(odb, "a", fs, "md5", dry_run=dry_run, ignore=None) == ("staging", {"size": 1}, "a")
    once(odb, "b", fs, "md5")
    once(odb, "b", fs, "md5", dry_run=True)[1]["size"] = 2
    assert once(odb, "b", fs, "md5")[1] == {"size": 1}
    assert read == [("a", True), ("a", False), ("b", False)]


@pytest.mark.slow
def test_lock_file_and_cache_are_those_of_dvc(tmp_path: Path) -> None:
    roots = [tmp_path / "own", tmp_path / "dvc"]
    for root in roots:
        for name in ("data/a/1", "data/b/2", "out/first/a", "out/second/deep/b", "out/second.json"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"content of {name}\n" if name[-1] != "n" else '{"bleu": 1.0}')
        (root / "dvc.yaml").write_text(_PIPELINE)
        _run(root, "git", "init", "-q")
        _run(root, sys.executable, "-m", "dvc", "init", "-q")
    commit(roots[0])
    _run(roots[1], sys.executable, "-m", "dvc", "commit", "--force", "-q")
    records = [
        {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in [root / "dvc.lock", root / ".gitignore", *(root / "out").rglob("*"), *_list_cache(root)]
            if path.is_file()
        }
        for root in roots
    ]
    assert records[0] == records[1]
    assert sum(".dvc/cache/files" in name for name in records[0]) >= 4  # two folders and a file in each
    assert is_clean(roots[0], whole=True)
    (roots[0] / "out" / "first" / "a").write_text("changed")
    commit(roots[0])
    assert is_clean(roots[0], whole=True)
    shutil.rmtree(roots[0] / "out" / "first")
    with pytest.raises(WorkspaceError, match=r"`dvc commit --force` to succeed.*does not exist"):
        commit(roots[0])


def _list_cache(root: Path) -> list[Path]:
    return list((root / ".dvc" / "cache").rglob("*"))


def _run(root: Path, *command: str) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
