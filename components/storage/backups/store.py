"""The store of one source's backups: objects named by digest, and a manifest for each complete backup.

    backups/<id>.json             a manifest, written last: without it there is no backup
    objects/<2 digits>/<sha256>   the content of files, which all backups share
    damaged/<sha256>              objects that did not match their name, for people who want to look at them
    <name>.json                   other values of the source

Does not know what is copied.
"""

import hashlib
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.errors import BackupError, WorkersError
from components.storage.backups.manifest import BackupManifest, StoredFile, parse_listing, parse_manifest
from components.storage.json_text import parse_json
from components.storage.object_store import ObjectStore

THREADS = 8
"""Objects that are sent or read at the same time; each costs one answer's latency."""
_MANIFESTS, _OBJECTS, _DAMAGED, _SUFFIX = "backups/", "objects/", "damaged/", ".json"
_URL_FIX = (
    "name a folder, or s3://bucket/folder, gs://bucket/folder or file:///folder; without credentials "
    "(set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
)


def open_backups(target: str) -> "BackupStore":
    """Return the store in a folder or at a URL; opens no connection.

    Raises:
        BackupError: it is no path and no URL of a folder in object storage.
    """
    url = target if "://" in target else Path(target).expanduser().resolve().as_uri()
    try:
        return BackupStore(ObjectStore(url))
    except WorkersError as problem:
        raise BackupError(problem.wanted, problem.got, _URL_FIX) from None


class BackupStore:
    """Backups of one source. Every method raises WorkersError if the store refuses or does not answer."""

    def __init__(self, store: ObjectStore) -> None:
        """Read nothing."""
        self._store = store
        self.url = store.url

    def list_ids(self) -> list[str]:
        """Return the ids of all complete backups, oldest first."""
        keys = self._store.list_keys(_MANIFESTS)
        return sorted(key.removeprefix(_MANIFESTS).removesuffix(_SUFFIX) for key in keys if key.endswith(_SUFFIX))

    def read_manifest(self, backup_id: str) -> BackupManifest:
        """Return a backup's manifest.

        Raises:
            BackupError: there is no such backup, or its manifest is damaged or of a newer release.
        """
        content = self._store.read(f"{_MANIFESTS}{backup_id}{_SUFFIX}")
        if content is None:
            known = ", ".join(self.list_ids()[-3:]) or "none"
            raise BackupError(
                f"a backup {backup_id} at {self.url}", f"no such backup (newest: {known})", "name another"
            )
        return parse_manifest(content, f"{self.url}/{_MANIFESTS}{backup_id}{_SUFFIX}")

    def find_newest(self) -> BackupManifest | None:
        """Return the newest backup; None if there is none. Raises BackupError as `read_manifest`."""
        ids = self.list_ids()
        return self.read_manifest(ids[-1]) if ids else None

    def read_listing(self, manifest: BackupManifest) -> dict[str, StoredFile]:
        """Return the files of a backup by name.

        Raises:
            BackupError: the listing is missing or damaged.
        """
        where = f"{self.url}/{_make_key(manifest.listing)}"
        content = self._store.read(_make_key(manifest.listing))
        if content is None or hashlib.sha256(content).hexdigest() != manifest.listing:
            got = "no such object" if content is None else "an object that does not match its digest"
            raise BackupError(f"the listing of backup {manifest.id} at {where}", got, "choose an earlier backup")
        return parse_listing(content, where)

    def publish(self, manifest: BackupManifest) -> None:
        """Write a manifest: from now on there is this backup. All its objects have been written before."""
        self._store.write(f"{_MANIFESTS}{manifest.id}{_SUFFIX}", manifest.to_bytes())

    def list_objects(self) -> set[str]:
        """Return the digests of all objects, whose content is not checked."""
        return {key.rpartition("/")[2] for key in self._store.list_keys(_OBJECTS)}

    def write_object(self, sha256: str, content: bytes) -> None:
        """Write an object."""
        self._store.write(_make_key(sha256), content)

    def upload_object(self, sha256: str, path: Path) -> None:
        """Write an object from a file. Raises WorkspaceError: the file cannot be read."""
        self._store.upload(path, _make_key(sha256))

    def read_object(self, sha256: str, path: Path) -> str:
        """Write an object to a file if it matches its digest, and return ""; else return what is wrong, and no file.

        Raises:
            WorkspaceError: the disk is full or the file cannot be written.
        """
        if not self._store.download(_make_key(sha256), path):
            return "is missing"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return ""
        path.unlink()
        return "does not match its digest"

    def delete_objects(self, digests: Iterable[str]) -> None:
        """Delete objects."""
        self._store.delete(*(_make_key(each) for each in digests))

    def set_aside(self, sha256: str, scratch: Path) -> None:
        """Move a damaged object to `damaged/`, so that the next backup writes it again."""
        path = scratch / f"{sha256}.damaged"
        if self._store.download(_make_key(sha256), path):
            self._store.upload(path, f"{_DAMAGED}{sha256}")
            path.unlink()
        self.delete_objects([sha256])

    def remove(self, ids: Collection[str], kept: Iterable[BackupManifest]) -> int:
        """Remove backups, and the objects that none of `kept` names; return how many objects.

        The manifests go first, so that a removal that is stopped leaves only whole backups and unused objects.
        """
        used: set[str] = set()
        for manifest in kept:
            used |= {manifest.listing, *(one.sha256 for one in self.read_listing(manifest).values())}
        self._store.delete(*(f"{_MANIFESTS}{each}{_SUFFIX}" for each in ids))
        unused = self.list_objects() - used
        self.delete_objects(sorted(unused))
        return len(unused)

    def read_value(self, name: str) -> Any | None:
        """Return another value of the source; None if there is none. Raises BackupError: it is no JSON."""
        content = self._store.read(f"{name}{_SUFFIX}")
        try:
            return None if content is None else parse_json(content)
        except ValueError as problem:
            fix = "delete it, or restore it by hand"
            raise BackupError(f"JSON in {self.url}/{name}{_SUFFIX}", str(problem), fix) from None

    def write_value(self, name: str, content: bytes) -> None:
        """Write another value of the source, as JSON."""
        self._store.write(f"{name}{_SUFFIX}", content)


def find_damage(store: BackupStore, digests: Iterable[str], scratch: Path) -> dict[str, str]:
    """Read objects, and return the digest of each one that is missing or damaged -> what is wrong with it."""

    def check(digest: str) -> tuple[str, str]:
        path = scratch / digest
        problem = store.read_object(digest, path)
        path.unlink(missing_ok=True)
        return digest, problem

    with ThreadPoolExecutor(THREADS) as pool:
        return {digest: problem for digest, problem in pool.map(check, sorted(set(digests))) if problem}


def _make_key(sha256: str) -> str:
    return f"{_OBJECTS}{sha256[:2]}/{sha256}"
