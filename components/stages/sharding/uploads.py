"""Uploads of sets of files to the exchange in the background, so that training never waits for the network.

Of the uploads that wait for one set, only the newest is done. A failed one is logged and tried again. Knows files and
sets; does not know what is in them.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from components.stages.progress import log_warning
from components.storage.atomic_files import convert_disk_errors
from components.storage.exchange import ExchangeFolder

_RETRY_S = 5.0
_LAST_TRIES = 2
"""Failures of one upload, each after the store's own patience, that `finish` endures."""
_POLL_S = 0.1
_STOP_WAIT_S = 15.0
"""Seconds that `finish` still waits after a stop."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One set: files of `folder` that replace the set `name` of `target`."""

    target: ExchangeFolder
    name: str
    folder: Path
    files: Sequence[str]


class BackgroundUploads:
    """A thread that uploads one set after another. Use it as a context: the thread ends with the block."""

    def __init__(self, snapshots: Path) -> None:
        """Start the thread. `snapshots` is a folder for temporary links, best on the same disk as the files."""
        self._snapshots = snapshots
        self._waiting: dict[str, Upload] = {}
        self._failures: dict[str, int] = {}
        self._last_error: Exception | None = None
        self._is_running = self._is_closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="uploads", daemon=True).start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the thread after the upload that runs now; others that wait are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def add(self, key: str, upload: Upload, *, instead_of: str = "") -> None:
        """Upload soon. Replaces the uploads with this key, and with the key `instead_of`, if they still wait."""
        with self._changed:
            self._waiting.pop(instead_of, None)
            self._waiting[key] = upload
            self._changed.notify_all()

    def finish(self, stop: Callable[[], bool]) -> None:
        """Wait until everything is uploaded; after a stop only for a few seconds more.

        Raises:
            WorkersError: an upload failed again and again.
        """
        with self._changed:
            self._failures.clear()
        stopped_s = float("inf")
        while True:
            with self._changed:
                if not self._waiting and not self._is_running:
                    return
                if self._last_error is not None and max(self._failures.values(), default=0) >= _LAST_TRIES:
                    raise self._last_error
            if stop():
                stopped_s = min(stopped_s, time.monotonic())
            if time.monotonic() - stopped_s > _STOP_WAIT_S:
                log_warning("stopped before the last files were in the exchange")
                return
            time.sleep(_POLL_S)

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            key, upload = taken
            try:
                self._upload(upload)
            except Exception as problem:  # noqa: BLE001 - raised again by `finish`
                self._end(key, upload, problem)
            else:
                self._end(key, upload, None)

    def _take(self) -> tuple[str, Upload] | None:
        """Wait for an upload; None if the thread must end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._is_closed:
                return None
            key = next(iter(self._waiting))
            self._is_running = True
            return key, self._waiting.pop(key)

    def _end(self, key: str, upload: Upload, problem: Exception | None) -> None:
        with self._changed:
            self._is_running = False
            if problem is None:
                self._failures.pop(key, None)
                return
            log_warning(f"{key}: not in the exchange yet, trying again: {problem}")
            self._last_error, self._failures[key] = problem, self._failures.get(key, 0) + 1
            self._waiting.setdefault(key, upload)
            self._changed.wait_for(lambda: self._is_closed, timeout=_RETRY_S)

    def _upload(self, upload: Upload) -> None:
        """Upload the files as they are now: a state that is replaced meanwhile would not match its digest."""
        with (
            convert_disk_errors(f"read files of {upload.folder}"),
            tempfile.TemporaryDirectory(dir=self._snapshots) as snapshot,
        ):
            for name in upload.files:
                _link_or_copy(upload.folder / name, Path(snapshot, name))
            upload.target.put(upload.name, Path(snapshot), upload.files)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # the disk has no hard links
        shutil.copyfile(source, target)
