"""Processes that outlive the command that started them: started, found again, and ended together with their children.

A process is identified by its number and its start, so that another one which later got the same number is never taken
for it. Knows no service.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

_POLL_S = 0.1
_BOOT_ID, _START_FIELD = Path("/proc/sys/kernel/random/boot_id"), 19
"""Linux: the field `starttime` of /proc/PID/stat, counted after the command's name, in ticks since the boot."""


class StartedProcess(BaseModel):
    """A process that leads a session of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    start: str
    """Its start, as `read_start` gives it."""


def start_process(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> StartedProcess:
    """Start a command in a new session, with its output added to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return StartedProcess(pid=process.pid, start=read_start(process.pid) or "")


def read_start(pid: int) -> str | None:
    """Return what tells a process from others that have or had its number; None if there is no such process."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()} {fields[_START_FIELD]}"
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    return None


def is_running(process: StartedProcess) -> bool:
    """Return whether this very process still runs."""
    return read_start(process.pid) == process.start


def end_process(process: StartedProcess, number: int, timeout_s: float) -> bool:
    """End a process by a signal, then by SIGKILL what remains of it and its children; return whether it was running.

    Children are its descendants and all members of its session.
    """
    found = read_start(process.pid)
    if found is not None and found != process.start:
        return False  # the number went to another process, so no member of the session is left
    own = _find_members(process)
    if found is not None:
        _send(process, number)
        _wait_for_end([process], timeout_s)
    for one in {*own, *_find_members(process)}:
        _send(one, signal.SIGKILL)
    _wait_for_end(own, timeout_s)
    return bool(own)


def _find_members(process: StartedProcess) -> list[StartedProcess]:
    """Return the process, its descendants and its session's members, as far as they run."""
    pids = {process.pid}
    with contextlib.suppress(psutil.Error):
        if is_running(process):
            pids |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == process.pid:
                pids.add(pid)
    started = [(pid, read_start(pid)) for pid in pids]
    return [StartedProcess(pid=pid, start=start) for pid, start in started if start is not None]


def _send(process: StartedProcess, number: int) -> None:
    if is_running(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait_for_end(processes: Sequence[StartedProcess], timeout_s: float) -> None:
    until_s = time.monotonic() + timeout_s
    while any(is_running(one) for one in processes) and time.monotonic() < until_s:
        time.sleep(_POLL_S)
