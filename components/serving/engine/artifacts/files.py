"""Artifact files on disk, in front of the artifact store that they are fetched from.

Artifacts are keyed by the sha256 of their content. Reading verifies the sha256, the tenant, the base and the tokenizer.
Damaged or missing files are an ArtifactError of their version. A store that does not answer is a store error; while it
lasts, only one thread at a time asks the store, so that reads from disk do not wait behind it. Knows folders; does not
know how a delta is used.
"""

import logging
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.errors import ArtifactError, PrefixFleetError, RegistryError, WorkspaceError
from components.model.base.load import Base
from components.model.delta import Delta
from components.registry.artifact import load_artifact
from components.registry.manifest import read_manifest
from components.serving.engine.artifacts.lru import LRUCache
from components.serving.interface import ArtifactRef
from components.storage.atomic_files import convert_disk_errors, remove_tree

if TYPE_CHECKING:
    from components.registry.manifest import Manifest

    Verified = tuple[Delta, Manifest]

_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_NAMED = 5
_RETRY_FIX = "check the artifact store, then retry"


class ArtifactSource(Protocol):
    """The artifact store."""

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """Write the artifact's files into `folder`, or return another folder that has them; called from many threads.

        Raises:
            ArtifactError: it does not exist, or is incomplete.
            PrefixFleetError: the store does not answer.
        """


class ArtifactFiles:
    """A folder with one subfolder for each artifact; safe to use from many threads.

    Two threads must not read the same artifact at once.
    """

    def __init__(self, base: Base, source: ArtifactSource, folder: Path, limit_bytes: int) -> None:
        """Keep at most `limit_bytes` bytes in `folder`; complete artifacts in it are kept, incomplete ones deleted.

        Raises:
            WorkspaceError: the folder cannot be made or listed.
        """
        self._base, self._source, self._folder = base, source, folder
        self._lock, self._retry_lock = threading.Lock(), threading.Lock()
        self._index: LRUCache[str] = LRUCache(limit_bytes)
        self._reading: set[str] = set()
        self.failed_artifact: ArtifactRef | None = None
        """The artifact of the last fetch if the store did not answer it; else None."""
        self.store_error = ""
        """Why the store did not answer the last fetch; "": it answered."""
        self._index_folder()

    @property
    def owners(self) -> dict[str, str]:
        """The sha256 of each artifact on disk, and its tenant."""
        with self._lock:
            return self._index.values_by_key

    def read(self, artifact: ArtifactRef) -> "Verified":
        """Read an artifact from disk, or fetch it; damaged files are fetched again, once.

        Raises:
            ArtifactError: its files are missing, still damaged after a second fetch, or another tenant's.
            BaseModelError: it belongs to another base or tokenizer.
            RegistryError, WorkspaceError: it cannot be fetched.
        """
        with self._lock:
            self._reading.add(artifact.sha256)
        try:
            return self._read(artifact)
        finally:
            with self._lock:
                self._reading.discard(artifact.sha256)

    def remove(self, sha256: str) -> None:
        """Delete an artifact; do nothing if there is none."""
        with self._lock:
            self._index.remove(sha256)
        _delete(self._folder / sha256)

    def _index_folder(self) -> None:
        """Record the artifacts that are on disk already, the oldest first; delete the incomplete ones.

        An entry that is no artifact's folder is left as it is, and logged once.
        """
        with convert_disk_errors(f"keep artifacts in {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            paths = list(self._folder.iterdir())
        foreign = []
        for path in sorted(paths, key=_read_mtime):
            if not _SHA256.fullmatch(path.name):
                foreign.append(path.name)
                continue
            try:
                self._record(path.name, read_manifest(path).tenant)
            except (ArtifactError, OSError):
                self._remove_incomplete(path)
        if foreign:
            message = "%s holds %d entries that are no artifacts, and are not used: %s"
            logging.getLogger(__name__).warning(message, self._folder, len(foreign), ", ".join(foreign[:_MAX_NAMED]))

    def _remove_incomplete(self, path: Path) -> None:
        """Delete an incomplete artifact; log it if the disk refuses."""
        self.remove(path.name)
        if path.exists() or path.is_symlink():
            logging.getLogger(__name__).warning("%s is no complete artifact, and cannot be deleted", path)

    def _read(self, artifact: ArtifactRef) -> "Verified":
        folder = self._folder / artifact.sha256
        if folder.is_dir():
            try:
                verified = _load_verified(folder, artifact, self._base)
            except ArtifactError:
                self.remove(artifact.sha256)
            else:
                self._record(artifact.sha256, artifact.tenant)
                return verified
        try:
            return self._fetch(folder, artifact)
        except ArtifactError:
            self.remove(artifact.sha256)
            return self._fetch(folder, artifact)

    def _fetch(self, folder: Path, artifact: ArtifactRef) -> "Verified":
        has_failed = bool(self.store_error)
        if has_failed and not self._retry_lock.acquire(blocking=False):
            got = f"a store that has failed, and another retry in progress: {self.store_error}"
            raise RegistryError(_describe(artifact), got, _RETRY_FIX)
        try:
            return self._fetch_and_keep(folder, artifact)
        except WorkspaceError as problem:
            self.remove(artifact.sha256)
            try:
                return self._fetch_without_keeping(artifact, problem)
            except WorkspaceError:
                self.failed_artifact, self.store_error = artifact, str(problem)
                raise
        finally:
            if has_failed:
                self._retry_lock.release()

    def _fetch_and_keep(self, folder: Path, artifact: ArtifactRef) -> "Verified":
        fetched = self._call_source(folder, artifact)
        verified = _load_verified(fetched, artifact, self._base)
        if fetched == folder:
            self._record(artifact.sha256, artifact.tenant)
        return verified

    def _fetch_without_keeping(self, artifact: ArtifactRef, problem: WorkspaceError) -> "Verified":
        """Load an artifact that the disk does not take, because it is full for example, from a temporary folder."""
        if self._base.device.type == "meta":  # engines elsewhere read the files from the folder
            raise problem
        with tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch:
            verified = _load_verified(self._call_source(Path(scratch) / "artifact", artifact), artifact, self._base)
        logging.getLogger(__name__).warning("%s answers, but is not kept on disk: %s", _describe(artifact), problem)
        return verified

    def _call_source(self, folder: Path, artifact: ArtifactRef) -> Path:
        try:
            fetched = self._source.fetch(artifact, folder)
        except ArtifactError:
            self.failed_artifact, self.store_error = None, ""
            raise
        except WorkspaceError:  # this machine's disk, not the store
            raise
        except PrefixFleetError as problem:
            self.failed_artifact, self.store_error = artifact, str(problem)
            raise
        except Exception as problem:
            error = RegistryError(_describe(artifact), f"{type(problem).__name__}: {problem}", _RETRY_FIX)
            self.failed_artifact, self.store_error = artifact, str(error)
            raise error from problem
        self.failed_artifact, self.store_error = None, ""
        return fetched

    def _record(self, sha256: str, tenant: str) -> None:
        size = sum(path.stat().st_size for path in (self._folder / sha256).glob("*"))
        with self._lock:
            evicted = self._index.put(sha256, tenant, size, self._reading)
        for other in [sha256] if evicted is None else evicted:
            _delete(self._folder / other)


def _delete(path: Path) -> None:
    """Delete an artifact's folder, or a file or a link in its place; what the disk refuses stays."""
    with suppress(OSError):
        remove_tree(path)


def _read_mtime(path: Path) -> float:
    """Return when an entry was changed; 0 if it has vanished."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def check_owner(tenant: str, artifact: ArtifactRef) -> None:
    """Check that the content belongs to the artifact's tenant. Raises ArtifactError."""
    if tenant != artifact.tenant:
        wanted = f"an artifact of {artifact.tenant} with sha256 {artifact.sha256}"
        raise ArtifactError(wanted, "an artifact of another tenant", "register the tenant again")


def _load_verified(folder: Path, artifact: ArtifactRef, base: Base) -> "Verified":
    """Load an artifact with `load_artifact`; also check that it has the sha256 and the tenant of `artifact`."""
    delta, manifest = load_artifact(folder, base)
    if manifest.sha256 != artifact.sha256:
        wanted = f"version {artifact.version} of {artifact.tenant} with sha256 {artifact.sha256}"
        raise ArtifactError(wanted, f"{manifest.sha256} in {folder}", "register the tenant again")
    check_owner(manifest.tenant, artifact)
    return delta, manifest


def _describe(artifact: ArtifactRef) -> str:
    return f"the artifact of {artifact.tenant}, version {artifact.version}"
