"""Finds and deletes the objects of one tenant in DVC's cache and remotes.

Objects are named by their content, so two tenants may share one. An object is the tenant's own if a folder listing in
some store names it for the tenant, and nothing else refers to it: no listing entry of another folder in any store, and
no single file in data.dvc, dvc.lock or any commit of them. Listings themselves are kept: they hold only file names and
digests, and older dataset versions need them for the other tenants. Knows no registry.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import WorkspaceError

_MD5 = re.compile(r"\b[0-9a-f]{32}\b(?!\.dir)")
_LISTING_SUFFIX = ".dir"
_REMOTE_LABEL = "DVC remote {}"


@dataclass(frozen=True, slots=True)
class DvcStore:
    """DVC's cache or one of its remotes."""

    name: str
    object_db: Any = field(repr=False)


def find_owned_objects(workspace: Path, tenant: str) -> dict[str, list[str]]:
    """Return store name -> the objects in it that only the tenant uses.

    Raises:
        WorkspaceError: a remote cannot be read.
    """
    with open_stores(workspace) as stores:
        return {store.name: objects for store, objects in _find_owned(workspace, stores, tenant)}


def find_outside_stores(workspace: Path) -> set[str]:
    """Return the names of the stores that are not in the workspace's own folder. Raises WorkspaceError."""
    root = workspace.resolve()
    with open_stores(workspace) as stores:
        return {store.name for store in stores if not _is_inside(store, root)}


def is_in_remote(workspace: Path, name: str, version: str) -> bool:
    """Return whether a remote has a dataset version, whose listing DVC sends after all files of it.

    Raises:
        WorkspaceError: the remote does not answer.
    """
    with open_stores(workspace) as stores:
        return any(store.object_db.exists(version) for store in stores if store.name == _REMOTE_LABEL.format(name))


def read_tenant_files(workspace: Path, version: str, tenant: str) -> dict[str, bytes]:
    """Return name -> content of a tenant's files in a dataset version, from DVC's cache or a remote; none: no data.

    Raises:
        WorkspaceError: no store has the version, or one of its files; or a remote does not answer.
    """
    with open_stores(workspace) as stores:
        entries = read_listing_entries(stores, version)
        own = [entry for entry in entries if entry["relpath"].split("/")[0] == tenant]
        return {entry["relpath"].split("/", 1)[1]: _read_object(stores, entry["md5"]) for entry in own}


def read_listing_entries(stores: list[DvcStore], version: str) -> list[dict[str, str]]:
    """Return the entries, with relpath and md5, of the listing of a dataset version. Raises WorkspaceError: none."""
    return list(json.loads(_read_object(stores, version)))


def _read_object(stores: list[DvcStore], name: str) -> bytes:
    for store in stores:
        if store.object_db.exists(name):
            return bytes(store.object_db.fs.cat_file(store.object_db.oid_to_path(name)))
    names = ", ".join(store.name for store in stores)
    raise WorkspaceError(
        f"the object {name[:12]} of a dataset version", f"none in {names}", "run `dvc fetch --all-commits`"
    )


def delete_objects(workspace: Path, tenant: str) -> dict[str, int]:
    """Delete the tenant's own objects from the cache and every remote; return store name -> number deleted.

    Raises:
        WorkspaceError: a remote cannot be read or written; some objects may be deleted already.
    """
    deleted: dict[str, int] = {}
    with open_stores(workspace) as stores:
        for store, objects in list(_find_owned(workspace, stores, tenant)):
            for name in objects:
                store.object_db.delete(name)
            deleted[store.name] = len(objects)
    return deleted


def _is_inside(store: DvcStore, root: Path) -> bool:
    is_local = "local" in store.object_db.fs.protocol
    return is_local and Path(store.object_db.path).resolve().is_relative_to(root)


def _find_owned(workspace: Path, stores: list[DvcStore], tenant: str) -> Iterator[tuple[DvcStore, list[str]]]:
    present = {store.name: set(store.object_db.all()) for store in stores}
    own: set[str] = set()
    others = _find_single_file_digests(workspace)
    for store in stores:
        for name in present[store.name]:
            if name.endswith(_LISTING_SUFFIX):
                for entry in json.loads(store.object_db.fs.cat_file(store.object_db.oid_to_path(name))):
                    is_own = entry["relpath"].split("/")[0] == tenant
                    (own if is_own else others).add(entry["md5"])
    for store in stores:
        yield store, sorted((own - others) & present[store.name])


def _find_single_file_digests(workspace: Path) -> set[str]:
    """Return every digest of a single file in the .dvc files and dvc.lock of the work tree and of all commits."""
    command = ["git", "-C", str(workspace), "log", "--all", "--format=", "-p", "--", "*.dvc", "dvc.lock"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    present = [*workspace.glob("*.dvc"), workspace / "dvc.lock"]
    texts = [done.stdout, *(path.read_text(encoding="utf-8") for path in present if path.is_file())]
    return {digest for text in texts for digest in _MD5.findall(text)}


@contextmanager
def open_stores(workspace: Path, *, with_remotes: bool = True, is_locked: bool = False) -> Iterator[list[DvcStore]]:
    """Open the cache and all remotes; errors of DVC inside the block become a WorkspaceError.

    With `is_locked` no DVC command that changes something runs in this workspace meanwhile.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with closing(Repo(str(workspace))) as repo, repo.lock if is_locked else nullcontext():
            names = sorted(repo.config["remote"]) if with_remotes else []
            remotes = [DvcStore(_REMOTE_LABEL.format(name), repo.cloud.get_remote_odb(name)) for name in names]
            yield [DvcStore("DVC cache", repo.cache.local), *remotes]
    except (DvcException, OSError) as problem:
        fix = "check the remotes in `dvc remote list`, their URLs and credentials"
        raise WorkspaceError(
            "a readable and writable DVC cache and remotes", " ".join(str(problem).split()), fix
        ) from problem
