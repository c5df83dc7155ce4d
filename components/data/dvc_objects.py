"""What DVC's stores hold of one tenant: found by every listing of a folder that a store has, and deleted.

Objects are named by their content, so two tenants may share one; only those go that nothing else refers to: no other
folder's listing in any store, and no single file that data.dvc, dvc.lock or any commit of them names. Listings stay:
they name files and digests, and older dataset versions need them for the other tenants. Knows no registry.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import WorkspaceError

_MD5 = re.compile(r"\b[0-9a-f]{32}\b(?!\.dir)")
_LISTING_SUFFIX = ".dir"


@dataclass(frozen=True, slots=True)
class DvcStore:
    """DVC's cache or one of its remotes."""

    name: str
    object_db: Any = field(repr=False)


def find_owned_objects(workspace: Path, tenant: str) -> dict[str, list[str]]:
    """Store -> the objects in it that are the tenant's alone.

    Raises:
        WorkspaceError: a remote cannot be read.
    """
    with _open_stores(workspace) as stores:
        return {store.name: found for store, found in _find_owned(workspace, stores, tenant)}


def delete_objects(workspace: Path, tenant: str) -> dict[str, int]:
    """Delete them, from the cache and from every remote; returns how many a store.

    Raises:
        WorkspaceError: a remote cannot be read or written; what was deleted by then is gone.
    """
    deleted: dict[str, int] = {}
    with _open_stores(workspace) as stores:
        for store, found in list(_find_owned(workspace, stores, tenant)):
            for name in found:
                store.object_db.delete(name)
            deleted[store.name] = len(found)
    return deleted


def _find_owned(workspace: Path, stores: list[DvcStore], tenant: str) -> Iterator[tuple[DvcStore, list[str]]]:
    present = {store.name: set(store.object_db.all()) for store in stores}
    own: set[str] = set()
    others = _find_single_file_digests(workspace)
    for store in stores:
        for name in present[store.name]:
            if name.endswith(_LISTING_SUFFIX):
                for entry in json.loads(store.object_db.fs.cat_file(store.object_db.oid_to_path(name))):
                    mine = entry["relpath"].split("/")[0] == tenant
                    (own if mine else others).add(entry["md5"])
    for store in stores:
        yield store, sorted((own - others) & present[store.name])


def _find_single_file_digests(workspace: Path) -> set[str]:
    """Every digest of a single file in pointers and lock files, of today and of all commits."""
    command = ["git", "-C", str(workspace), "log", "--all", "--format=", "-p", "--", "*.dvc", "dvc.lock"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lying = [*workspace.glob("*.dvc"), workspace / "dvc.lock"]
    texts = [done.stdout, *(path.read_text(encoding="utf-8") for path in lying if path.is_file())]
    return {digest for text in texts for digest in _MD5.findall(text)}


@contextmanager
def _open_stores(workspace: Path) -> Iterator[list[DvcStore]]:
    """The cache and all remotes, open. What DVC says on the way becomes a WorkspaceError."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with closing(Repo(str(workspace))) as repo:
            names = sorted(repo.config["remote"])
            remotes = [DvcStore(f"DVC remote {name}", repo.cloud.get_remote_odb(name)) for name in names]
            yield [DvcStore("DVC cache", repo.cache.local), *remotes]
    except (DvcException, OSError) as problem:
        fix = "check the remotes in `dvc remote list`, their URLs and credentials"
        raise WorkspaceError("to read and write DVC's stores", " ".join(str(problem).split()), fix) from problem
