"""Writing files so that a reader sees the old content or the new, never a part; one writer at a time.

Knows no format.
"""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.errors import WorkspaceError

_POLL_SECONDS = 0.02
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_ERRNOS = (*_DISK_FULL_ERRNOS, errno.EACCES, errno.EPERM, errno.EROFS)
"""What a disk may answer to any write, wherever it happens, that is no mistake of the program."""


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path`: a temporary file in the same folder, fsync, rename. Missing folders are made.

    Raises:
        WorkspaceError: the disk is full or the folder cannot be written; the old file stands, no temporary stays.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with convert_disk_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_temporaries(path: Path) -> None:
    """Remove the temporaries that killed writes of `path` left; only for a file with one writer at a time."""
    with convert_disk_errors(f"clear away what was left of {path}"):
        for stale in path.parent.glob(f".{path.name}.*.tmp"):
            stale.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` survive a power cut, where the file system lets a folder be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def convert_disk_errors(action: str) -> Iterator[None]:
    """Turn an OSError of the block into a WorkspaceError that names `action`."""
    try:
        yield
    except OSError as problem:
        raise to_workspace_error(problem, f"to {action}") from problem


def to_workspace_error(problem: OSError, wanted: str) -> WorkspaceError:
    """An OSError in three beats."""
    fix = (
        "free space on this disk and run again"
        if problem.errno in _DISK_FULL_ERRNOS
        else "correct the path or its rights"
    )
    return WorkspaceError(wanted, problem.strerror or str(problem), fix)


@contextmanager
def hold_file_lock(lock: Path, place: Path, fix: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Let one process at a time work in `place`. The system frees the lock when its holder dies, however it dies.

    Raises:
        WorkspaceError: another one holds it for `wait_s`, whose process is named; or the disk is full.
    """
    with convert_disk_errors(f"lock {lock}"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        until_s = time.monotonic() + wait_s
        while not (held := _try_lock(handle)) and time.monotonic() < until_s:
            time.sleep(_POLL_SECONDS)
        if not held:
            holder = os.read(handle, 20).decode("ascii", "replace") or "unknown"
            got = f"another run at work there (process {holder}, lock {lock})"
            raise WorkspaceError(f"{place} to itself", got, fix)
        with convert_disk_errors(f"lock {lock}"):
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
