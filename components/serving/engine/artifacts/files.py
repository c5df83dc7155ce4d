"""Artifacts' files: on disk, or fetched from where they come from, and what keeps them from coming.

Everything is keyed by the sha256 of its content and verified against that, against the tenant that asks, and against
base and tenant's tokenizer. Files that are damaged or missing are their version's own fault; a source that does not
answer is trouble, and while it is in trouble it is asked by one thread at a time, so that those who read from disk need
not wait behind it. Knows folders; not what is done with a delta.
"""

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.errors import ArtifactError, PrefixFleetError, RegistryError
from components.model.base.load import Base
from components.model.delta import Delta
from components.registry.artifact import load_artifact
from components.registry.manifest import read_manifest
from components.serving.engine.artifacts.lru import LRUCache
from components.serving.interface import ArtifactRef

if TYPE_CHECKING:
    from components.registry.manifest import Manifest

    Verified = tuple[Delta, Manifest]

_RETRY_FIX = "see that the artifact store answers, and ask again"


class ArtifactSource(Protocol):
    """Where artifacts come from."""

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """Put an artifact's files into `folder`, or say in which folder they are; may be called from many threads.

        Raises:
            ArtifactError: it is not there, or not whole.
            PrefixFleetError: it cannot be had now.
        """


class ArtifactFiles:
    """A folder of artifacts, a folder for each content, in front of a source; safe from many threads.

    One content must not be read by two threads at once.
    """

    def __init__(self, base: Base, source: ArtifactSource, folder: Path, limit_bytes: int) -> None:
        """Keep at most `limit_bytes` bytes under `folder`.

        What is there already counts, and what is torn there goes.
        """
        self._base, self._source, self._folder = base, source, folder
        self._lock, self._retry_lock = threading.Lock(), threading.Lock()
        self._index: LRUCache[str] = LRUCache(limit_bytes)
        self._reading: set[str] = set()
        self.failed_artifact: ArtifactRef | None = None
        """What was to be fetched when the source was last asked, where no answer came."""
        self.store_error = ""
        """Why no answer came then; nothing once one has come."""
        folder.mkdir(parents=True, exist_ok=True)
        for kept in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
            try:
                self._record(kept.name, read_manifest(kept).tenant)
            except ArtifactError:
                self.remove(kept.name)

    @property
    def owners(self) -> dict[str, str]:
        """The sha256 of everything on disk, and the tenant whose it is."""
        with self._lock:
            return self._index.values_by_key

    def read(self, artifact: ArtifactRef) -> "Verified":
        """From disk, or fetched; what is damaged is fetched again, once.

        Raises:
            ArtifactError: its files are missing, damaged (after a second fetch), or another tenant's.
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
        """Keep a content no longer; one that is not kept is no error."""
        with self._lock:
            self._index.remove(sha256)
        shutil.rmtree(self._folder / sha256, ignore_errors=True)

    def _read(self, artifact: ArtifactRef) -> "Verified":
        folder = self._folder / artifact.sha256
        if folder.is_dir():
            try:
                found = _load_verified(folder, artifact, self._base)
            except ArtifactError:
                self.remove(artifact.sha256)
            else:
                self._record(artifact.sha256, artifact.tenant)
                return found
        try:
            return self._fetch(folder, artifact)
        except ArtifactError:
            self.remove(artifact.sha256)
            return self._fetch(folder, artifact)

    def _fetch(self, folder: Path, artifact: ArtifactRef) -> "Verified":
        in_trouble = bool(self.store_error)
        if in_trouble and not self._retry_lock.acquire(blocking=False):
            wanted = f"the artifact of {artifact.tenant}, version {artifact.version}"
            raise RegistryError(
                wanted, f"a store in trouble, which is being asked already: {self.store_error}", _RETRY_FIX
            )
        try:
            place = self._call_source(folder, artifact)
        finally:
            if in_trouble:
                self._retry_lock.release()
        found = _load_verified(place, artifact, self._base)
        if place == folder:
            self._record(artifact.sha256, artifact.tenant)
        return found

    def _call_source(self, folder: Path, artifact: ArtifactRef) -> Path:
        try:
            place = self._source.fetch(artifact, folder)
        except ArtifactError:
            self.failed_artifact, self.store_error = None, ""
            raise
        except PrefixFleetError as problem:
            self.failed_artifact, self.store_error = artifact, str(problem)
            raise
        except Exception as problem:
            wanted = f"the artifact of {artifact.tenant}, version {artifact.version}"
            told = RegistryError(wanted, f"{type(problem).__name__}: {problem}", _RETRY_FIX)
            self.failed_artifact, self.store_error = artifact, str(told)
            raise told from problem
        self.failed_artifact, self.store_error = None, ""
        return place

    def _record(self, sha256: str, tenant: str) -> None:
        size = sum(path.stat().st_size for path in (self._folder / sha256).glob("*"))
        with self._lock:
            gone = self._index.put(sha256, tenant, size, self._reading)
        for other in [sha256] if gone is None else gone:
            shutil.rmtree(self._folder / other, ignore_errors=True)


def check_owner(tenant: str, artifact: ArtifactRef) -> None:
    """Refuse another tenant's. Raises ArtifactError."""
    if tenant != artifact.tenant:
        wanted = f"an artifact of {artifact.tenant} with sha256 {artifact.sha256}"
        raise ArtifactError(wanted, "another tenant's", "register the tenant again")


def _load_verified(folder: Path, artifact: ArtifactRef, base: Base) -> "Verified":
    """Everything that `load_artifact` checks, and that it is the one that was asked for."""
    delta, manifest = load_artifact(folder, base)
    if manifest.sha256 != artifact.sha256:
        wanted = f"version {artifact.version} of {artifact.tenant} with sha256 {artifact.sha256}"
        raise ArtifactError(wanted, f"{manifest.sha256} in {folder}", "register the tenant again")
    check_owner(manifest.tenant, artifact)
    return delta, manifest
