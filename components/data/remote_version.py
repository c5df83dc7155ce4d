"""A pinned dataset version in a DVC remote: fetches the data of single tenants, without git, DVC's cache or the rest.

Reads the version's listing once, then only the files asked for; each file is compared with its md5 in the listing.
(`dvc pull data/TENANT` fetches the same, but takes 25 s of computing for a listing of 30,000 files.) While the remote
does not answer, it is tried again.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from components.data.digests import read_pointer_output
from components.data.dvc import POINTER_FILE, DvcRemote
from components.errors import DataError, WorkspaceError
from components.storage.atomic_files import convert_disk_errors, write_atomic
from components.storage.json_text import parse_json
from components.storage.object_faults import Meaning, read_fault
from components.storage.patience import Patience

_PATIENCE_S = 180.0
_HASH = "md5"
_PUSH = "run `dvc push` on the parent's machine"
_Result = TypeVar("_Result")


class RemoteVersion:
    """The version in data.dvc of a folder, in a remote that the folder need not know."""

    def __init__(self, root: Path, remote: DvcRemote, *, patience_s: float = _PATIENCE_S) -> None:
        """Read the listing.

        Raises:
            DataError: data.dvc is not valid.
            WorkspaceError: the remote does not answer for `patience_s` seconds, refuses, or lacks the listing.
        """
        self._data, self._patience_s = root / "data", patience_s
        self._fetched: set[str] = set()
        output = read_pointer_output(root / POINTER_FILE)
        if output.get("hash") != _HASH:
            fix = "run `dvc add data` with DVC 3 or newer on the parent's machine, and `dvc push`"
            raise WorkspaceError(f"data.dvc with hash: {_HASH}", f"hash: {output.get('hash')}", fix)
        self._objects = _open_remote(root, remote)
        self._files = self._read_listing(str(output["md5"]))

    def fetch_tenant(self, tenant: str) -> None:
        """Write a tenant's files into data/<tenant>; the second call for a tenant does nothing.

        Raises:
            DataError: the version has no data of the tenant.
            WorkspaceError: as above, or a file is missing or damaged in the remote, or the disk is full.
        """
        if tenant in self._fetched:
            return
        files = self._files.get(tenant)
        if not files:
            fix = "run again (`prefixfleet retrain`)"
            raise DataError(f"data of {tenant} in the pinned dataset version", "none", fix)
        for name, md5 in files.items():
            content = self._read(md5, f"{tenant}/{name} in the DVC remote")
            write_atomic(self._data / tenant / name, content)
        self._fetched.add(tenant)

    def _read_listing(self, md5: str) -> dict[str, dict[str, str]]:
        """Return tenant -> name of its file -> md5."""
        wanted = f"the listing of dataset version {md5[:12]} in the DVC remote"
        content = self._read(md5, wanted)
        files: dict[str, dict[str, str]] = {}
        try:
            for entry in parse_json(content):
                path = PurePosixPath(entry["relpath"])
                if len(path.parts) == 2 and ".." not in path.parts:
                    files.setdefault(path.parts[0], {})[path.parts[1]] = str(entry["md5"])
        except (ValueError, KeyError, TypeError) as problem:
            raise WorkspaceError(wanted, f"something else ({problem})", _PUSH) from None
        return files

    def _read(self, md5: str, wanted: str) -> bytes:
        path = self._objects.oid_to_path(md5)
        content: bytes = self._try_again(wanted, lambda: self._objects.fs.cat_file(path))
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5.removesuffix(".dir"):
            fix = f"delete {path}, and {_PUSH}"
            raise WorkspaceError(f"{wanted}, with md5 {md5}", f"a damaged file with md5 {found}", fix)
        return content

    def _try_again(self, wanted: str, call: Callable[[], _Result]) -> _Result:
        patience = Patience(self._patience_s)
        while True:
            try:
                return call()
            except Exception as problem:  # noqa: BLE001 - read_fault sorts them
                fault = read_fault(problem)
                if fault.meaning is Meaning.BUSY and patience.wait():
                    continue
                missing = fault.meaning is Meaning.MISSING
                raise WorkspaceError(
                    wanted, "none" if missing else fault.got, _PUSH if missing else fault.fix
                ) from None


def _open_remote(root: Path, remote: DvcRemote) -> Any:
    """Return DVC's object database of the remote. Opens no connection."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    remote.check_present()
    place = root / ".dvc"
    with convert_disk_errors(f"make {place}"):
        place.mkdir(exist_ok=True)
    core = {"no_scm": True, "analytics": False, "remote": remote.name, "site_cache_dir": str(place)}
    try:
        repo = Repo(str(root), config={"core": core, "remote": {remote.name: dict(remote.options)}})
        store = repo.cloud.get_remote_odb(hash_name=_HASH)
        if hasattr(store.fs.fs, "max_concurrency"):
            store.fs.fs.max_concurrency = 1  # else s3fs asks for the size of each object before it reads it
        return store
    except DvcException as problem:
        fix = "correct the default remote on the parent's machine (`dvc remote modify`)"
        raise WorkspaceError(
            f"options of the DVC remote {remote.name!r}", " ".join(str(problem).split()), fix
        ) from None
