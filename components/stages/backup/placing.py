"""Puts verified objects of a backup in place under names, in a tree that nothing else uses yet."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from components.data.dvc_copies import add_to_cache
from components.errors import BackupError
from components.stages.backup import dataset_objects, git_state, workspace_files
from components.stages.backup.git_state import GitState
from components.storage.atomic_files import convert_disk_errors
from components.storage.backups.manifest import StoredFile


class Placer:
    """Puts verified objects in place under names; none leads out of the tree."""

    def __init__(self, files: Mapping[str, StoredFile], objects: Mapping[str, Path], tree: Path) -> None:
        self._files, self._objects, self._tree = files, objects, tree
        self._linked: set[str] = set()

    def place_workspace(self, git: GitState | None) -> Path:
        """Make the repository, the workspace's files and DVC's cache; return the workspace in the tree."""
        workspace = self._tree
        if git is not None:
            bundles = [self._objects[one.sha256] for _, one in self._select(git_state.PART)]
            git_state.restore_repository(bundles[0] if bundles else None, git, self._tree)
            workspace = self._tree / git.folder
            for name in git.removed:
                (workspace / name).unlink(missing_ok=True)
        for name, _ in list(self._select(workspace_files.PART)):
            self.place(f"{workspace_files.PART}/{name}", workspace / name)
        (workspace / "drops").mkdir(exist_ok=True)
        copies = {name: self._objects[one.sha256] for name, one in self._select(dataset_objects.PART)}
        if copies:
            add_to_cache(workspace, copies)
        return workspace

    def place(self, name: str, path: Path) -> None:
        """Put a file in place: linked the first time, copied when another name has the same content."""
        one = self._files[name]
        with convert_disk_errors(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.parent.resolve().is_relative_to(self._tree):
                got = "a link that leads out of the folder"
                fix = "restore by hand, or take the link out of the repository"
                raise BackupError(f"to write {name}", got, fix)
            path.unlink(missing_ok=True)
            self._link_or_copy(one.sha256, path)
            if one.is_executable:
                path.chmod(path.stat().st_mode | 0o111)

    def _select(self, part: str) -> Iterator[tuple[str, StoredFile]]:
        """Yield the files of a part, by their names in it."""
        for name, one in self._files.items():
            if name.startswith(f"{part}/"):
                yield name.removeprefix(f"{part}/"), one

    def _link_or_copy(self, sha256: str, path: Path) -> None:
        if sha256 not in self._linked:
            self._linked.add(sha256)
            with suppress(OSError):  # a file system without hard links
                os.link(self._objects[sha256], path)
                return
        shutil.copyfile(self._objects[sha256], path)
