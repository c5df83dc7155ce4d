"""Files in object storage below one URL: written whole or not at all, and tried again while the store is away.

Knows no format and no meaning of keys. Credentials and the endpoint come from each machine's environment (AWS_*).
"""

import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from components.errors import PrefixFleetError, WorkersError, WorkspaceError
from components.storage.atomic_files import convert_disk_errors, replace_when_complete
from components.storage.folder_objects import FolderObjects
from components.storage.object_faults import Meaning, read_fault
from components.storage.object_names import StoredObject, check_key, is_key, parse_store_url
from components.storage.patience import Patience
from components.storage.remote_objects import RemoteObjects

Progress = Callable[[int], None]
"""Takes the bytes that a transfer has done."""
_Result = TypeVar("_Result")
_LOGGER = "prefixfleet"
_TELL_AFTER_TRIES = 4
"""Failed tries, some seconds, after which a call that waits says so."""


class _Objects(Protocol):
    def put_bytes(self, key: str, content: bytes) -> None: ...
    def put_file(self, path: Path, key: str, progress: Progress) -> None: ...
    def get_bytes(self, key: str) -> bytes: ...
    def get_file(self, key: str, path: Path, progress: Progress) -> None: ...
    def list_objects(self, start: str) -> dict[str, StoredObject]: ...
    def delete(self, keys: Iterable[str]) -> None: ...
    def delete_leftovers(self, before: datetime) -> None: ...


class ObjectStore:
    """Files in object storage below one URL (s3://, gs:// or file://); may be used by several threads and after fork.

    Every method raises WorkersError if the store refuses, or does not answer for `patience_s` seconds.
    """

    def __init__(self, url: str, *, patience_s: float = 180.0) -> None:
        """Check the URL; open no connection.

        Raises:
            WorkersError: it is no URL of a folder in object storage, or holds credentials.
        """
        address = parse_store_url(url)
        self.url = address.url
        self._patience_s = patience_s
        self._objects: _Objects = (
            FolderObjects(Path(address.folder))
            if address.scheme == "file"
            else RemoteObjects(address.scheme, address.folder)
        )

    def write(self, key: str, content: bytes) -> None:
        """Write an object; a reader sees the old content or the new."""
        check_key(key)
        self._try_again(f"to write {self.url}/{key}", lambda _: self._objects.put_bytes(key, content))

    def read(self, key: str) -> bytes | None:
        """Return an object's content; None if there is no such key."""
        check_key(key)
        return self._try_or_miss(f"to read {self.url}/{key}", lambda _: self._objects.get_bytes(key))

    def upload(self, path: Path, key: str) -> None:
        """Write an object from a file, in parts if it is large.

        Raises:
            WorkspaceError: the file cannot be read.
        """
        check_key(key)
        with convert_disk_errors(f"read {path}"), path.open("rb"):
            pass
        self._try_again(f"to write {self.url}/{key}", lambda progress: self._objects.put_file(path, key, progress))

    def download(self, key: str, path: Path) -> bool:
        """Write an object's content to a file, which appears when it is complete; False if there is no such key.

        An object that is replaced meanwhile may give a mixture: check the content.

        Raises:
            WorkspaceError: the disk is full or the file cannot be written.
        """
        check_key(key)
        with replace_when_complete(path) as temporary:

            def copy(progress: Progress) -> bool:
                self._objects.get_file(key, temporary, progress)
                return True

            found = bool(self._try_or_miss(f"to read {self.url}/{key}", copy, writes_to=path))
            if not found:
                temporary.unlink(missing_ok=True)
        return found

    def list_keys(self, start: str = "") -> dict[str, datetime]:
        """Return key -> time of writing, by the store's clock, of the keys that begin with `start`.

        Objects whose names this class would not write are left out.
        """
        return {key: found.written for key, found in self.list_stored(start).items()}

    def list_stored(self, start: str = "") -> dict[str, StoredObject]:
        """Return key -> time of writing and size, as `list_keys`."""
        check_key(start.removesuffix("/") or "all")
        found = self._try_or_miss(f"to list {self.url}/{start}", lambda _: self._objects.list_objects(start))
        return {key: one for key, one in (found or {}).items() if is_key(key)}

    def delete(self, *keys: str) -> None:
        """Delete objects; keys that do not exist are ignored."""
        for key in keys:
            check_key(key)
        self._try_or_miss(f"to delete objects below {self.url}", lambda _: self._objects.delete(keys))

    def delete_leftovers(self, before: datetime) -> None:
        """Delete what killed processes left unfinished before a time; a bucket has a rule of its own for that."""
        self._try_or_miss(f"to clean {self.url}", lambda _: self._objects.delete_leftovers(before))

    def read_clock(self) -> datetime:
        """Return the store's own present time: that of an object which is written and deleted."""
        key = f"probe-{secrets.token_hex(8)}"
        self.write(key, b"")
        try:
            return self.list_keys(key)[key]
        except KeyError:
            got, fix = "a listing without an object that was just written", "use a store whose listings are consistent"
            raise WorkersError(f"the time of {self.url}", got, fix) from None
        finally:
            self.delete(key)

    def check_writable(self) -> None:
        """Write, list, read and delete an object.

        Raises:
            WorkersError: one of these fails; names the URL and what to do.
        """
        key, content = f"probe-{secrets.token_hex(8)}", secrets.token_bytes(8)
        self.write(key, content)
        try:
            if self.read(key) != content or key not in self.list_keys(key):
                fix = "use a store in which a written object is seen at once"
                raise WorkersError(f"a usable exchange at {self.url}", "an object unlike the one just written", fix)
        finally:
            self.delete(key)

    def _try_again(self, wanted: str, call: Callable[[Progress], None]) -> None:
        def call_and_tell(progress: Progress) -> bool:
            call(progress)
            return True

        if not self._try_or_miss(wanted, call_and_tell):
            got = "a folder that is a file, or a file that is a folder"
            raise WorkersError(wanted, got, "delete the object in its place")

    def _try_or_miss(
        self, wanted: str, call: Callable[[Progress], _Result], writes_to: Path | None = None
    ) -> _Result | None:
        """Return what the call returns, or None if there is no such object; try again while the store is away.

        The call gets a function to tell of a transfer's progress.
        """
        patience = Patience(self._patience_s)
        while True:
            try:
                return call(patience.note_progress)
            except PrefixFleetError:
                raise
            except Exception as problem:
                fault = read_fault(problem)
                if fault.meaning is Meaning.MISSING:
                    return None
                if fault.meaning is Meaning.BUSY and patience.wait():
                    if patience.tries == _TELL_AFTER_TRIES:
                        line = "object storage does not answer, trying again for up to %.0f s: wanted %s; got %s"
                        logging.getLogger(_LOGGER).warning(line, self._patience_s, wanted, fault.got)
                    continue
                if fault.meaning is Meaning.LOCAL and writes_to is not None:
                    raise WorkspaceError(f"to write {writes_to}", fault.got, fault.fix) from problem
                raise WorkersError(wanted, fault.got, fault.fix) from problem
