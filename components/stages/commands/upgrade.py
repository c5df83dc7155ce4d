"""Compare a workspace's files with those that this version of PrefixFleet gives to a new one. Changes nothing."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from components.stages.commands.init_workspace import list_product_owned, write_files
from components.stages.commands.product_files import find_product_files
from components.stages.workspace import Workspace

_NO_NEWLINE = "\n\\ No newline at end of file\n"


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A file that is missing, or not as a new workspace has it."""

    name: str
    is_missing: bool
    diff: str
    """A unified diff from the workspace's file to the new one, which `patch -p1` takes."""


def find_differences(workspace: Workspace) -> list[FileDifference]:
    """Return the files of a workspace that differ from a new one's, and lines that its .gitignore lacks.

    params.yaml is read and checked, not compared: its values are the user's.

    Raises:
        ConfigError: params.yaml has a key that this version does not know.
        WorkspaceError: the installation is not complete.
    """
    product = find_product_files()
    new = write_files(product, workspace.params.base.path, has_remote=workspace.params.data.push)
    differences = [_compare(workspace, name, new[name]) for name in list_product_owned(product)]
    return [*filter(None, differences), *_compare_ignored(workspace, new[".gitignore"])]


def _compare(workspace: Workspace, name: str, new: str) -> FileDifference | None:
    path = workspace.root / name
    old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return None if old == new else _write(name, old, new, is_missing=not path.is_file())


def _compare_ignored(workspace: Workspace, new: str) -> Iterator[FileDifference]:
    path = workspace.root / ".gitignore"
    old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    present = {line.strip().strip("/") for line in old.splitlines()}
    missing = [line for line in new.splitlines() if line[:1] == "/" and line.strip().strip("/") not in present]
    if missing:
        added = "".join(f"{line}\n" for line in missing)
        whole = old if not old or old.endswith("\n") else f"{old}\n"
        yield _write(".gitignore", old, whole + added, is_missing=not path.is_file())


def _write(name: str, old: str, new: str, *, is_missing: bool) -> FileDifference:
    names = ("/dev/null" if is_missing else f"a/{name}", f"b/{name}")
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), *names)
    return FileDifference(
        name, is_missing, "".join(line if line.endswith("\n") else f"{line}{_NO_NEWLINE}" for line in lines)
    )
