"""The process that runs a job: at most one in a workspace, in a session of its own, so that it outlives the server.

Whether it lives is told by a lock that it holds from its start to its end, whatever ends it; the lock's file names the
job and the process. Knows no table.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from components.storage.atomic_files import convert_disk_errors, try_lock


class JobProcess:
    """The process of a workspace's jobs; use it from one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the lock and the logs. Starts nothing."""
        self._folder, self._lock_file = folder, folder / "process.lock"
        self._child: subprocess.Popen[bytes] | None = None

    def find_job(self) -> str | None:
        """Return the id of the job whose process lives; "": it has not been named yet; None: no process lives."""
        with self._hold() as handle:
            if handle is not None:
                return None
        with convert_disk_errors(f"read {self._lock_file}"):
            return self._lock_file.read_text(encoding="ascii", errors="replace").partition(" ")[0]

    @contextmanager
    def hold_if_free(self) -> Iterator[bool]:
        """Keep every process from starting during the block, if none lives; yields whether that is so."""
        with self._hold() as handle:
            yield handle is not None

    def start(self, job_id: str, command: Sequence[str], log: Path, claim: Callable[[], bool]) -> bool:
        """Start the process of a job, its output in `log`; return False if another one lives or `claim` returns False.

        `claim` is called while the lock is held.

        Raises:
            WorkspaceError: the disk is full, or the process cannot be started.
        """
        with self._hold() as handle:
            if handle is None or not claim():
                return False
            with convert_disk_errors(f"start the process of {job_id}"):
                log.parent.mkdir(parents=True, exist_ok=True)
                os.ftruncate(handle, 0)
                with log.open("ab") as output:
                    self._child = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        pass_fds=[handle],
                        start_new_session=True,
                    )
                os.pwrite(handle, f"{job_id} {self._child.pid}".encode(), 0)
        return True

    def stop(self, job_id: str, number: signal.Signals) -> None:
        """Send a signal to the process of this job and to what it has started; do nothing if it does not live."""
        if self.find_job() != job_id:
            return
        with convert_disk_errors(f"read {self._lock_file}"):
            pid = self._lock_file.read_text(encoding="ascii").partition(" ")[2]
        if pid.isdecimal():
            with suppress(ProcessLookupError):
                os.killpg(int(pid), number)

    @contextmanager
    def _hold(self) -> Iterator[int | None]:
        """Yield the locked file; None: a process holds it. A child's copy holds the lock after the block."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        with convert_disk_errors(f"lock {self._lock_file}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield handle if try_lock(handle) else None
        finally:
            os.close(handle)
