"""Replaces tenants' folders in data/ and data.dvc together: after any kill, `recover_swap` leaves one whole version.

    data.tmp            the new folders of the tenants that change, added to DVC beside the old ones. A tenant without
                        data has none, and an empty one from just before the commit. It has all folders where DVC's own
                        command must add the version
    data.tmp.dvc        the .dvc file of the new version
    data.dvc.new.tmp    the new data.dvc; its existence commits the swap
    data.old.tmp        the tenants' old folders while they are renamed

Without data.dvc.new.tmp, `recover_swap` removes the other files and the old version stays; with it, `recover_swap`
completes the swap. What is not in data.tmp is not touched, so its digests stay known. If data/ is a symbolic link,
the folders are replaced in the folder that it names, on its own file system: the new ones are copied beside it before
the swap is committed, and the link stays. Does not know drops or examples.
"""

import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.data.digests import read_pointer_output
from components.data.dvc import POINTER_FILE
from components.errors import WorkspaceError
from components.storage.atomic_files import (
    convert_disk_errors,
    remove_temporaries,
    remove_tree,
    sync_folder,
    write_atomic,
)
from components.storage.mounts import find_mount_point

DATA_FOLDER = "data"
STAGED_FOLDER = "data.tmp"
STAGED_POINTER = "data.tmp.dvc"
_NEXT_POINTER = "data.dvc.new.tmp"
_WHOLE_NEXT_POINTER = "data.dvc.next.tmp"
"""The commit of releases that replaced data/ as a whole."""
_OLD_FOLDER = "data.old.tmp"


@dataclass(frozen=True, slots=True)
class _Places:
    """The folders that a swap renames, all in one parent."""

    data: Path
    """data/, or the folder that the link data/ names."""
    next: Path
    """The new folders: data.tmp, or its copy beside the link's folder."""
    old: Path
    partial: Path
    """A copy of data.tmp that is not complete yet; only for a link."""


def stage_tenants(workspace: Path, tenants: Collection[str]) -> Path:
    """Make data.tmp/ with these tenants' folders, by hard links (or copies). Replace files, never write into them.

    Raises:
        WorkspaceError: the disk is full, or data/ could not be replaced later. Nothing has changed then.

    """
    places = _find_places(workspace)
    _require_replaceable(workspace, places)
    staged = workspace / STAGED_FOLDER
    with convert_disk_errors(f"copy {DATA_FOLDER} to {staged}"):
        staged.mkdir()
        _link_entries((places.data / tenant for tenant in tenants), staged)
    return staged


def stage_others(workspace: Path, tenants: Collection[str]) -> None:
    """Make data.tmp/ whole: add all that data/ has beside these tenants' folders. Raises WorkspaceError."""
    data, staged = _find_places(workspace).data, workspace / STAGED_FOLDER
    if data.exists():
        with convert_disk_errors(f"copy {DATA_FOLDER} to {staged}"):
            _link_entries((entry for entry in data.iterdir() if entry.name not in tenants), staged)


def swap_in_staged(workspace: Path, tenants: Collection[str]) -> None:
    """Replace these tenants' folders, and what else was staged, by the staged ones, and data.dvc by their version.

    Raises:
        WorkspaceError: a file or folder cannot be written or renamed; the next `recover_swap` completes or undoes it.

    """
    places, staged = _find_places(workspace), workspace / STAGED_FOLDER
    with convert_disk_errors(f"write {staged}"):
        for tenant in tenants:
            (staged / tenant).mkdir(exist_ok=True)
    if places.next != staged:
        with convert_disk_errors(f"copy {staged} to {places.next}"):
            _copy_whole(staged, places)
    for name in (_NEXT_POINTER, _WHOLE_NEXT_POINTER):
        remove_temporaries(workspace / name)
    write_atomic(workspace / _NEXT_POINTER, _format_next_pointer(workspace))
    recover_swap(workspace)


def recover_swap(workspace: Path) -> None:
    """Complete a committed swap, or remove the files of an uncommitted one; does nothing if there was no swap.

    Raises:
        WorkspaceError: a file or folder cannot be renamed or removed.

    """
    with convert_disk_errors(f"finish the swap of {workspace / DATA_FOLDER}"):
        _restore_link(workspace)
        places = _find_places(workspace)
        _adopt_whole_swap(workspace, places)
        if (workspace / _NEXT_POINTER).exists():
            _finish_swap(workspace, places)
        elif places.old.exists() and not places.data.exists():
            places.old.rename(places.data)
        (workspace / STAGED_POINTER).unlink(missing_ok=True)
        for folder in (workspace / STAGED_FOLDER, places.next, places.partial, places.old):
            remove_tree(folder)


def _find_places(workspace: Path) -> _Places:
    data, staged = workspace / DATA_FOLDER, workspace / STAGED_FOLDER
    if data.is_symlink():
        return _find_linked_places(data)
    return _Places(data, staged, workspace / _OLD_FOLDER, staged)


def _find_linked_places(link: Path) -> _Places:
    target = Path(os.path.realpath(link))
    beside = [target.with_name(f".{target.name}.prefixfleet.{word}.tmp") for word in ("next", "old", "partial")]
    return _Places(target, *beside)


def _require_replaceable(workspace: Path, places: _Places) -> None:
    """Refuse, before anything has changed, a data/ that a rename cannot replace."""
    data, wanted = workspace / DATA_FOLDER, _describe_wanted(places)
    if not places.data.exists():
        if data.is_symlink():
            raise WorkspaceError(
                wanted, f"no such folder, to which {data} links", "mount or make it, or remove the link"
            )
        return
    if not places.data.is_dir():
        raise WorkspaceError(wanted, "a file", "move it to another place")
    if point := find_mount_point(places.data):
        fix = "mount the file system elsewhere, and make data a symbolic link to a folder in it"
        raise WorkspaceError(wanted, f"the mount point {point}", fix)
    for folder in places.data.iterdir():
        if folder.is_symlink() and folder.is_dir():
            fix = "move this tenant's folder to its place in data, or make all of data a link"
            raise WorkspaceError(wanted, f"the symbolic link {folder}", fix)


def _restore_link(workspace: Path) -> None:
    """Undo what earlier releases left of a link data/: data a folder with the new version, the link as data.old.tmp.

    The folder's files become the content of the link's folder, and the link takes its name again.
    """
    data, link, staged = workspace / DATA_FOLDER, workspace / _OLD_FOLDER, workspace / STAGED_FOLDER
    if not link.is_symlink():
        return
    places = _find_linked_places(link)
    if data.is_dir() and not data.is_symlink() and places.data.parent.is_dir():
        _copy_whole(data, places)
        _move_away(places)
        _rename_entries(workspace, places)
        remove_tree(staged)
        data.rename(staged)
    if os.path.lexists(data):
        link.unlink()
    else:
        link.rename(data)


def _adopt_whole_swap(workspace: Path, places: _Places) -> None:
    """Let a swap that an earlier release has committed be completed: all of data/ is old then."""
    commit = workspace / _WHOLE_NEXT_POINTER
    if commit.exists():
        if places.next.exists() or (workspace / STAGED_FOLDER).exists():
            _move_away(places)
        commit.replace(workspace / _NEXT_POINTER)


def _move_away(places: _Places) -> None:
    if places.data.exists():
        remove_tree(places.old)
        places.data.rename(places.old)


def _finish_swap(workspace: Path, places: _Places) -> None:
    staged = workspace / STAGED_FOLDER
    if not places.next.exists() and staged.exists():
        _copy_whole(staged, places)  # again after a kill between the renames and the new data.dvc
    if places.next.exists():
        _rename_entries(workspace, places)
    (workspace / _NEXT_POINTER).replace(workspace / POINTER_FILE)
    sync_folder(workspace)


def _rename_entries(workspace: Path, places: _Places) -> None:
    """Put the new folders in place.

    If one cannot be renamed, all is undone with the commit, and the old version stays. If a kill came before, the
    commit stays instead, for the next `recover_swap`.
    """
    can_undo = not places.old.exists()
    for folder in (places.data, places.old):
        folder.mkdir(exist_ok=True)
    begun: list[str] = []
    for entry in sorted(places.next.iterdir()):
        present = places.data / entry.name
        try:
            if os.path.lexists(present):
                remove_tree(places.old / entry.name)
                present.rename(places.old / entry.name)
            begun.append(entry.name)
            if entry.is_dir() and not any(entry.iterdir()):
                entry.rmdir()
            else:
                entry.rename(present)
        except OSError as problem:
            if can_undo:
                _undo_renames(places, begun)
                (workspace / _NEXT_POINTER).unlink(missing_ok=True)
            fix = f"correct the permissions of {places.data}, or make data a symbolic link to a folder of a disk"
            raise WorkspaceError(
                _describe_wanted(places), f"{problem.strerror} on renaming {present}", fix
            ) from problem
    places.next.rmdir()
    for folder in (places.data, places.data.parent):
        sync_folder(folder)


def _undo_renames(places: _Places, names: Iterable[str]) -> None:
    for name in names:
        new, present, old = places.next / name, places.data / name, places.old / name
        if not new.exists() and present.exists():
            present.rename(new)
        elif not new.exists():
            new.mkdir()  # of a tenant that is removed
        if old.exists():
            old.rename(present)


def _describe_wanted(places: _Places) -> str:
    return f"folders in {places.data} that can be replaced"


def _copy_whole(folder: Path, places: _Places) -> None:
    """Copy a folder to `places.next`, which exists only when it is complete."""
    remove_tree(places.partial)
    shutil.copytree(folder, places.partial)
    remove_tree(places.next)
    places.partial.rename(places.next)


def _format_next_pointer(workspace: Path) -> bytes:
    output = read_pointer_output(workspace / STAGED_POINTER) | {"path": DATA_FOLDER}
    values = {"outs": [output]}
    if (workspace / POINTER_FILE).exists():
        old = read_pointer_output(workspace / POINTER_FILE)
        values = yaml.safe_load((workspace / POINTER_FILE).read_text(encoding="utf-8")) | {"outs": [old | output]}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def _link_entries(entries: Iterable[Path], target: Path) -> None:
    for entry in entries:
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, copy_function=_link_or_copy)
        elif entry.exists():
            _link_or_copy(str(entry), str(target / entry.name))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
