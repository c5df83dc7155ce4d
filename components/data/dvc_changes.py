"""Adds changed tenants to the dataset version and sends them: the work grows with what changed, not with the fleet.

`dvc add` and `dvc push` look at every file of the fleet. These functions take the listing of the version in data.dvc,
replace the entries of the changed tenants, and add or send only files that this listing did not have. The result is the
one of DVC's commands. Where it cannot be known, or something fails, they return False: the caller then runs the
command, which also reports what is wrong. Knows DVC's object databases; does not know drops or examples.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from components.data.digests import read_pointer_output
from components.data.dvc import POINTER_FILE
from components.errors import DataError
from components.storage.atomic_files import write_atomic

_HASH = "md5"
_COPYING = frozenset({"reflink", "copy"})
"""Cache types with which DVC leaves a file in the work tree as it is."""
_DVC_IGNORE = ".dvcignore"

_Entries = dict[str, str]
"""Path relative to data/ -> md5."""


def add_changes(workspace: Path, folder: str, tenants: Collection[str]) -> bool:
    """Add the version that data/ will be with these tenants' folders taken from `folder`; write `<folder>.dvc`.

    A tenant without a folder there has no data in the new version. data/ must be the version in data.dvc.

    Returns:
        Whether it was done; False: use `dvc.add`.
    """
    former = _read_output(workspace / POINTER_FILE)
    if former is None:
        return False
    try:
        with _open_repo(workspace) as repo, repo.lock:
            output = _add(repo, folder, tenants, former)
    except Exception as problem:  # noqa: BLE001 - `dvc add` reports it
        _log_fallback("add", problem)
        return False
    if output is None:
        return False
    write_atomic(workspace / f"{folder}.dvc", yaml.safe_dump({"outs": [output]}, sort_keys=False).encode())
    return True


def push_changes(workspace: Path, pointer: str) -> bool:
    """Send the version in the file `pointer` to the default remote if that has the version in data.dvc.

    Returns:
        Whether it was done; False: use `dvc.push`.
    """
    former, new = _read_output(workspace / POINTER_FILE), _read_output(workspace / pointer)
    if former is None or new is None:
        return False
    try:
        with _open_repo(workspace) as repo, repo.lock:
            return _push(repo, former["md5"], new["md5"])
    except Exception as problem:  # noqa: BLE001 - `dvc push` reports it
        _log_fallback("push", problem)
        return False


def _add(repo: Any, folder: str, tenants: Collection[str], former: dict[str, Any]) -> dict[str, Any] | None:
    """Add the tenants' files and the new listing to the cache; return the output for the .dvc file."""
    from dvc_data.hashfile.tree import Tree

    root, cache = Path(repo.root_dir), repo.cache.local
    if not _COPYING.issuperset(cache.cache_types):
        return None
    entries = _read_listing(cache, former["md5"])
    kept = {name: md5 for name, md5 in entries.items() if name.partition("/")[0] not in tenants}
    old_size = sum((root / "data" / name).stat().st_size for name in entries.keys() - kept.keys())
    paths = _list_files(repo, root / folder, tenants)
    if paths is None or not (kept or paths):
        return None
    added = {name: _hash_file(path) for name, path in paths.items()}
    objects = {md5: str(paths[name]) for name, md5 in added.items()}
    cache.add(list(objects.values()), repo.fs, list(objects))
    listing = Tree.from_list([{_HASH: md5, Tree.PARAM_RELPATH: name} for name, md5 in {**kept, **added}.items()])
    listing.digest()
    cache.add(listing.path, listing.fs, listing.oid)
    size = former["size"] - old_size + sum(path.stat().st_size for path in paths.values())
    return {_HASH: listing.oid, "size": size, "nfiles": len(listing), "hash": _HASH, "path": folder}


def _push(repo: Any, former: str, new: str) -> bool:
    """Send what the former version did not have, and last the listing: a listing means that its files are there."""
    cache, remote = repo.cache.local, repo.cloud.get_remote_odb()
    if not remote.exists(former):
        return False
    files = {*_read_listing(cache, new).values()} - {*_read_listing(cache, former).values()}
    for objects in (sorted(files), [new]):
        paths = [cache.oid_to_path(one) for one in objects]
        remote.add(paths, cache.fs, objects, check_exists=False, batch_size=remote.fs.jobs)
    return True


def _list_files(repo: Any, folder: Path, tenants: Collection[str]) -> dict[str, Path] | None:
    """Return the files of the tenants that DVC does not ignore, by their relative names; None if DVC refuses them."""
    files: dict[str, Path] = {}
    for tenant in sorted(tenants):
        for parent, _, names in repo.dvcignore.walk(repo.fs, str(folder / tenant)):
            if _DVC_IGNORE in names:
                return None
            paths = [Path(parent, name) for name in names]
            files |= {path.relative_to(folder).as_posix(): path for path in paths}
    return files


def _read_listing(cache: Any, version: str) -> _Entries:
    """Return the files of a version. Raises FileNotFoundError: it is not in the cache; ValueError: it is damaged."""
    content = Path(cache.oid_to_path(version)).read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != version.removesuffix(".dir"):
        raise ValueError(f"the listing of version {version} is damaged")
    return {entry["relpath"]: entry[_HASH] for entry in json.loads(content)}


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _read_output(pointer: Path) -> dict[str, Any] | None:
    """Return the output of a .dvc file that DVC 3 wrote for a folder; None for any other."""
    try:
        output = read_pointer_output(pointer)
    except DataError:
        return None
    return output if output.get("hash") == _HASH and {"size", "nfiles"} <= output.keys() else None


@contextmanager
def _open_repo(workspace: Path) -> Iterator[Any]:
    from dvc.repo import Repo

    with closing(Repo(str(workspace))) as repo:
        yield repo


def _log_fallback(command: str, problem: Exception) -> None:
    logging.getLogger("prefixfleet").debug("using `dvc %s`: %s: %s", command, type(problem).__name__, problem)
