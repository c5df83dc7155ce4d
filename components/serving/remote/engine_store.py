"""Where remote engines read artifacts: the server's own folder, or object storage that it copies them to.

Knows folders and object storage; does not know how an artifact is verified.
"""

import threading
from collections.abc import Iterable
from pathlib import Path

from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.storage.object_store import ObjectStore


class EngineStore:
    """Artifacts by sha256 in a folder, each also below `url` if there is one; safe to use from many threads."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """`folder` has verified artifacts. Without `url` the engines read that folder itself.

        Raises:
            WorkersError: `url` is no folder in object storage.
        """
        self._folder = folder
        self._objects = ObjectStore(url) if url else None
        self._copied: set[str] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The folder of all artifacts, as the engines know it."""
        return self._folder.as_uri() if self._objects is None else self._objects.url

    def get_address(self, sha256: str) -> str:
        """Return the address of an artifact's folder."""
        return f"{self.url.rstrip('/')}/{sha256}"

    def is_published(self, sha256: str) -> bool:
        """Whether engines can read the artifact."""
        with self._lock:
            return self._objects is None or sha256 in self._copied

    def publish(self, sha256: str) -> None:
        """Copy an artifact to where the engines read it; do nothing if it is there. Raises WorkersError."""
        if self._objects is None or self.is_published(sha256):
            return
        for name in (TENSORS_FILE, MANIFEST_FILE):  # the manifest comes last: engines read it first
            self._objects.write(f"{sha256}/{name}", (self._folder / sha256 / name).read_bytes())
        with self._lock:
            self._copied.add(sha256)

    def remove(self, sha256s: Iterable[str]) -> None:
        """Delete artifacts from object storage; the folder's own are the caller's to delete. Raises WorkersError."""
        names = list(sha256s)
        if self._objects is not None and names:
            self._objects.delete(*(f"{sha256}/{name}" for sha256 in names for name in (MANIFEST_FILE, TENSORS_FILE)))
        with self._lock:
            self._copied -= set(names)
