"""Writes files atomically, so that a reader sees the old content or the new, never a part; and locks by file.

Knows no format.
"""

import errno
import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from components.errors import LockHeldError, WorkspaceError

TELL_AFTER_S = 2.0
"""Wait for a lock after which the waiting process says so."""
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_ERRNOS = (
    *_DISK_FULL_ERRNOS,
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV, errno.EIO, errno.ESTALE),
    *(errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
)
"""Errors that any write may raise because of the disk, its permissions or a path, not because of a bug."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file by a temporary file in the same folder, fsync and rename. Missing folders are made.

    Raises:
        WorkspaceError: the disk is full or the folder cannot be written; the old file and no temporary file remain.
    """
    with replace_when_complete(path) as temporary, temporary.open("xb") as file:
        file.write(content)


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; a file that the block leaves there replaces `path`, after an fsync.

    Missing folders are made. If the block leaves no file or raises, the old file stays.

    Raises:
        WorkspaceError: the disk is full or the folder cannot be written; the old file and no temporary file remain.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with convert_disk_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if not temporary.exists():
                return
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_temporaries(path: Path) -> None:
    """Delete temporary files that killed writes of `path` left; only for a file with one writer at a time."""
    with convert_disk_errors(f"delete temporary files of {path}"):
        for stale in path.parent.glob(f".{path.name}.*.tmp"):
            stale.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder with its content, a file, or a symbolic link but not what it names; does nothing if missing."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a power cut; does nothing where the file system refuses that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def convert_disk_errors(action: str) -> Iterator[None]:
    """Convert an OSError of the block into a WorkspaceError; `action` is an infinitive without "to"."""
    try:
        yield
    except OSError as problem:
        raise to_workspace_error(problem, f"to {action}") from problem


def to_workspace_error(problem: OSError, wanted: str) -> WorkspaceError:
    """Return an OSError as our error."""
    got = problem.strerror or str(problem)
    if isinstance(problem, shutil.Error) and isinstance(problem.args[0], list):  # of many files: (from, to, why)
        got = "; ".join(f"{source}: {why}" for source, _, why in problem.args[0][:1])
    full = problem.errno in _DISK_FULL_ERRNOS or os.strerror(errno.ENOSPC) in got
    fix = "free space on this disk and run again" if full else "correct the path or its permissions"
    return WorkspaceError(wanted, got, fix)


@contextmanager
def hold_file_lock(
    lock: Path, place: Path, fix: str, *, wait_s: float = 0.0, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold an exclusive lock file during a block; `place` is what it protects, for the error.

    Processes that wait get the lock in the order in which they came. `on_wait` is called once if that takes more than
    `TELL_AFTER_S`. The operating system releases the lock when its holder ends, even by a crash.

    Raises:
        LockHeldError: another process holds the lock after `wait_s` seconds, and is named.
        WorkspaceError: the disk is full.
    """
    with convert_disk_errors(f"lock {lock}"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        with convert_disk_errors(f"lock {lock}"):
            held = try_lock(handle) or (wait_s > 0 and _wait_for_lock(handle, wait_s, on_wait))
        if not held:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace") or "unknown"
            got = f"another run (process {holder}, lock file {lock})"
            raise LockHeldError(f"exclusive use of {place}", got, fix)
        with convert_disk_errors(f"lock {lock}"):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int, wait_s: float, on_wait: Callable[[], None] | None) -> bool:
    """Wait in the system's queue, in a thread; returns False after `wait_s`, and then the thread takes no lock."""
    taken: Future[None] = Future()

    def take(own: int) -> None:
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            taken.set_result(None)
        except OSError as problem:
            taken.set_exception(problem)
        finally:
            os.close(own)  # the lock is free again if the caller has closed its handle

    threading.Thread(target=take, args=(os.dup(handle),), daemon=True).start()
    done, _ = wait([taken], min(wait_s, TELL_AFTER_S))
    if not done and wait_s > TELL_AFTER_S:
        if on_wait is not None:
            on_wait()
        done, _ = wait([taken], wait_s - TELL_AFTER_S)
    return bool(done) and taken.result() is None


def try_lock(handle: int) -> bool:
    """Lock an open file; return False if another process holds it. The last close of the handle frees it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
