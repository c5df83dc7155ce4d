"""Brings files from a watched folder or bucket into the drops folder: fetched aside first, then placed at once.

A delivery lies in `<drops>/.arriving/<tenant>.<digest>/` until it is placed, and its digest is the same for the same
content, names and times of writing. Placing can be repeated: lines that a drop has already are not added again. Knows
no database and no schedule; the caller decides which deliveries count.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.config import TENANT_ID
from components.data.digests import compute_file_digest
from components.data.drops import append_lines
from components.storage.atomic_files import convert_disk_errors, remove_tree
from components.storage.object_store import ObjectStore

ARRIVING_FOLDER = ".arriving"
_DIGEST_DIGITS = 24


def list_deliveries(store: ObjectStore, start: str = "") -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return tenant -> file's name -> time of writing, of keys that begin with `start`; and those of no tenant.

    Raises:
        WorkersError: the store does not answer.
    """
    deliveries: dict[str, dict[str, str]] = {}
    strays = []
    for key, written in sorted(store.list_keys(start).items()):
        tenant, _, name = key.partition("/")
        if not TENANT_ID.fullmatch(tenant) or not name or "/" in name:
            strays.append(key)
        elif not name.endswith(".tmp"):
            deliveries.setdefault(tenant, {})[name] = written.isoformat()
    return deliveries, strays


def fetch_delivery(store: ObjectStore, drops: Path, tenant: str, files: Mapping[str, str]) -> Path | None:
    """Fetch files (name -> time of writing) aside; return their folder, or None if one has changed meanwhile.

    Raises:
        WorkersError: the store does not answer.
        WorkspaceError: the disk is full.
    """
    scratch = drops / ARRIVING_FOLDER / f"{tenant}.fetching"
    with convert_disk_errors(f"write {scratch}"):
        remove_tree(scratch)
        scratch.mkdir(parents=True)
    complete = all(store.download(f"{tenant}/{name}", scratch / name) for name in files)
    present = list_deliveries(store, f"{tenant}/")[0].get(tenant, {}) if complete else {}
    if any(present.get(name) != written for name, written in files.items()):
        remove_tree(scratch)
        return None
    folder = scratch.with_name(f"{tenant}.{compute_delivery_digest(scratch, files)}")
    with convert_disk_errors(f"write {folder}"):
        remove_tree(folder)
        scratch.rename(folder)
    return folder


def compute_delivery_digest(folder: Path, files: Mapping[str, str]) -> str:
    """Return the digest of files (name -> time of writing) in a folder: of their names, times and contents."""
    parts = [f"{name}\t{written}\t{compute_file_digest(folder / name)}" for name, written in sorted(files.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST_DIGITS]


def list_fetched(drops: Path) -> list[tuple[Path, str, str]]:
    """Return (folder, tenant, digest) of the deliveries that lie aside; removes what was only half fetched."""
    found = []
    for folder in sorted((drops / ARRIVING_FOLDER).glob("*")):
        tenant, _, digest = folder.name.partition(".")
        if digest == "fetching":
            remove_tree(folder)
        else:
            found.append((folder, tenant, digest))
    return found


def place_delivery(folder: Path, drop: Path) -> None:
    """Move the files of a fetched delivery into a tenant's drop; can be repeated after a kill.

    Only one process may add to a drop at a time.

    Raises:
        WorkspaceError: the disk is full.
    """
    with convert_disk_errors(f"write {drop}"):
        if not drop.exists():
            folder.rename(drop)
            return
        for path in sorted(folder.iterdir()):
            target = drop / path.name
            if not target.exists():
                path.rename(target)
            elif path.suffix == ".jsonl":
                append_lines(target, path.read_bytes().splitlines(keepends=True))
                path.unlink()
            else:
                path.replace(target)
        shutil.rmtree(folder)


def discard_delivery(folder: Path) -> None:
    """Remove a fetched delivery that is not taken. Raises WorkspaceError."""
    with convert_disk_errors(f"remove {folder}"):
        remove_tree(folder)


def describe_files(names: Iterable[str]) -> str:
    """Return the names of a delivery's files for people."""
    return ", ".join(sorted(name.removesuffix(".jsonl") for name in names))
