"""The files of a set on this machine: sent as objects named by digest, fetched, verified and put in place.

Knows no listing's key and no exchange; file names have been checked.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from components.errors import DamagedError, WorkersError
from components.storage.atomic_files import convert_disk_errors, remove_tree, sync_folder
from components.storage.object_store import ObjectStore
from components.storage.set_listing import INCOMING, SetListing, StoredFile

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_PACKED_BYTES = 2**20
"""Largest file that goes into the pack: a request costs more than its bytes."""
_PACK_BYTES = 32 * 2**20
_THREADS = 8
"""Objects that are sent or fetched at the same time; each costs one answer's latency."""
_SEND_TRIES = 3


def send_set(store: ObjectStore, key: str, folder: Path, names: Iterable[str]) -> SetListing:
    """Send files of a folder as objects below `key`, the small ones packed into one; return their listing.

    Raises:
        WorkersError: the store fails, or a file changed each time while it was sent.
        WorkspaceError: a file cannot be read.
    """
    generation, left = secrets.token_hex(8), _PACK_BYTES
    small: list[str] = []
    large: list[str] = []
    for name in sorted(set(names)):
        with convert_disk_errors(f"read {folder / name}"):
            size = (folder / name).stat().st_size
        is_small = size <= min(left, _PACKED_BYTES)
        left -= size if is_small else 0
        (small if is_small else large).append(name)
    objects = f"{key}/{generation}"
    sent = _map(lambda name: _send_file(store, objects, folder / name), large)
    packed, pack = _send_pack(store, objects, folder, small) if small else ({}, None)
    return SetListing(generation, dict(zip(large, sent, strict=True)) | packed, pack)


def fetch_set(store: ObjectStore, key: str, listing: SetListing, folder: Path, name: str) -> None:
    """Put the files of the set `name` into a folder, in place only when all of them are here and verified.

    Files that are there already are not fetched. One call at a time may fetch a set into a folder.

    Raises:
        DamagedError: an object is missing, or is not what its digest says; no file was put in place.
        WorkersError: the store fails, or a link in the folder leads out of it.
        WorkspaceError: the disk is full or a file cannot be written.
    """
    objects = f"{key}/{listing.generation}"
    with convert_disk_errors(f"write {folder}"):
        for each in listing.files:
            _check_inside(folder, each)
        needed = {each: file for each, file in listing.files.items() if not _is_there(folder / each, file)}
        incoming = folder / f"{INCOMING}{name}"
        if incoming.is_symlink():
            incoming.unlink()
        if needed:
            incoming.mkdir(parents=True, exist_ok=True)
            packed = {file.sha256: file for file in needed.values() if file.offset is not None}
            pack = listing.pack if packed else None
            whole = {file for file in needed.values() if file.offset is None} | ({pack} if pack else set())
            _map(lambda file: _fetch_file(store, objects, file, incoming), whole)
            if pack:
                _map(lambda file: _unpack(pack, file, incoming, f"{store.url}/{objects}"), packed.values())
            _place(incoming, needed, folder)
        remove_tree(incoming)


def _send_pack(
    store: ObjectStore, key: str, folder: Path, names: Iterable[str]
) -> tuple[dict[str, StoredFile], StoredFile]:
    content, files = bytearray(), {}
    for name in names:
        with convert_disk_errors(f"read {folder / name}"):
            part = (folder / name).read_bytes()
        files[name] = StoredFile(hashlib.sha256(part).hexdigest(), len(part), len(content))
        content += part
    pack = StoredFile(hashlib.sha256(content).hexdigest(), len(content))
    store.write(f"{key}/{pack.sha256}", bytes(content))
    return files, pack


def _send_file(store: ObjectStore, key: str, path: Path) -> StoredFile:
    for _ in range(_SEND_TRIES):
        with convert_disk_errors(f"read {path}"):
            before = path.stat()
            digest = _read_digest(path)
        store.upload(path, f"{key}/{digest}")
        with convert_disk_errors(f"read {path}"):
            after = path.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
            return StoredFile(digest, before.st_size)
    raise WorkersError(f"to send {path}", "a file that changes meanwhile", "send a copy that nothing writes to")


def _fetch_file(store: ObjectStore, key: str, file: StoredFile, incoming: Path) -> None:
    path = incoming / file.sha256
    if _is_there(path, file):
        return
    url = f"{store.url}/{key}/{file.sha256}"
    if not store.download(f"{key}/{file.sha256}", path):
        raise DamagedError(url, "no such object", "make the set again")
    if not _is_there(path, file):
        path.unlink()
        raise DamagedError(url, "an object that does not match its digest", "make the set again")


def _unpack(pack: StoredFile, file: StoredFile, incoming: Path, url: str) -> None:
    with (incoming / pack.sha256).open("rb") as source:
        source.seek(file.offset or 0)
        content = source.read(file.size)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DamagedError(f"{url}/{pack.sha256}", "a file in it that does not match its digest", "make the set again")
    path = incoming / f"{file.sha256}.file"
    with path.open("wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    path.replace(incoming / file.sha256)


def _place(incoming: Path, files: Mapping[str, StoredFile], folder: Path) -> None:
    names_left: dict[str, int] = {}
    for file in files.values():
        names_left[file.sha256] = names_left.get(file.sha256, 0) + 1
    for name, file in files.items():
        source, target = incoming / file.sha256, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_inside(folder, name)
        names_left[file.sha256] -= 1
        if names_left[file.sha256]:
            source = Path(shutil.copyfile(source, incoming / f"{file.sha256}.copy"))
        source.replace(target)
    for parent in {(folder / name).parent for name in files}:
        sync_folder(parent)


def _check_inside(folder: Path, name: str) -> None:
    parent = (folder / name).parent
    if not parent.resolve().is_relative_to(folder.resolve()):
        raise WorkersError(f"to write {folder / name}", "a link that leads out of the folder", "delete the link")


def _is_there(path: Path, file: StoredFile) -> bool:
    """Return whether a regular file, not a link, has this content."""
    is_candidate = path.is_file() and not path.is_symlink() and path.stat().st_size == file.size
    return is_candidate and _read_digest(path) == file.sha256


def _read_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _map(call: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Call for each item in threads; the first error ends the others that have not begun."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(call, items))
