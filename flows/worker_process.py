"""Runs Prefect's process workers on this machine, one a device, and keeps them running until a signal ends them all.

Each worker takes one shard at a time, only from the queue of this code's version. Knows processes and devices; does not
know shards.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from components.errors import WorkersError
from components.stages.progress import log_info, log_warning
from components.stages.sharding.code_version import read_code_version
from components.storage.atomic_files import convert_disk_errors
from flows.local_server import ADDRESS_VARIABLE
from flows.worker_names import make_queue_name, make_worker_name

DEVICES_VARIABLE = "CUDA_VISIBLE_DEVICES"
HOME_VARIABLE = "PREFIXFLEET_WORKER_HOME"
"""Folder of a worker's caches; the flow of a shard reads it."""
DEFAULT_HOME = "~/.cache/prefixfleet/worker"
_DEFAULTS = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_WORKER_HEARTBEAT_SECONDS": "10"}
_RESTART_S, _POLL_S = 5.0, 0.2
_STOP_TIMEOUT_S = 60.0
"""Time for runs to save their states; Prefect kills a run after 30 s."""
_PARENT_DEATH_SIGNAL = 1


@dataclass(frozen=True, slots=True)
class WorkerDevice:
    """What one worker trains on."""

    label: str
    """For the worker's name."""
    visible: str
    """The value of CUDA_VISIBLE_DEVICES; "" for the CPU."""


def find_home(home: Path | None = None) -> Path:
    """Return the folder of this worker's caches: the named one, else that in the environment, else the default."""
    return Path(home or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve()


def choose_devices(text: str) -> list[WorkerDevice]:
    """Return the devices that `all`, `none` or a list such as `0,1` names; without a GPU, `all` is the CPU.

    Raises:
        WorkersError: another text.
    """
    cpu = WorkerDevice(f"cpu-{os.getpid()}", "")
    if text == "none":
        return [cpu]
    named = _list_gpus() if text == "all" else [part.strip() for part in text.split(",")]
    if not all(named) or len(set(named)) != len(named) or (text != "all" and not _are_gpu_names(named)):
        wanted = "in --devices `all`, `none`, or GPUs by number such as 0,1"
        raise WorkersError(wanted, repr(text), "`nvidia-smi -L` lists the GPUs")
    return [WorkerDevice(f"gpu-{name}", name) for name in named] or [cpu]


def run_workers(pool: str, devices: Sequence[WorkerDevice], home: Path, idle_minutes: float | None = None) -> None:
    """Run one worker a device until a signal arrives in this process; then end all, and with them their runs.

    A worker that ends by itself is started again. With `idle_minutes`, also ends if none had a shard for that long.

    Raises:
        WorkersError: there is no PREFECT_API_URL.
        KeyboardInterrupt: a signal arrived.
    """
    if not os.environ.get(ADDRESS_VARIABLE):
        fix = f"set {ADDRESS_VARIABLE} to the address of the server that the parent uses, http://HOST:4200/api"
        raise WorkersError("the address of a Prefect server", f"no {ADDRESS_VARIABLE}", fix)
    with convert_disk_errors(f"make {home}"):
        home.mkdir(parents=True, exist_ok=True)
    version = read_code_version()
    names = {device: make_worker_name(socket.gethostname(), device.label, version) for device in devices}
    commands = {device: make_command(pool, make_queue_name(version), name) for device, name in names.items()}
    processes: dict[WorkerDevice, subprocess.Popen[bytes]] = {}
    busy_at_s = time.monotonic()
    try:
        while idle_minutes is None or time.monotonic() - busy_at_s < idle_minutes * 60:
            if idle_minutes is not None and any(has_run(process.pid) for process in processes.values()):
                busy_at_s = time.monotonic()
            for device in devices:
                process = processes.get(device)
                if process is not None and process.poll() is None:
                    continue
                if process is not None:
                    log_warning(f"worker {names[device]} ended (exit code {process.returncode}); starting it again")
                    time.sleep(_RESTART_S)
                processes[device] = _start(commands[device], device, home)
                log_info(f"worker {names[device]} takes shards from work pool {pool}")
            time.sleep(_POLL_S)
        log_info(f"no shard for {idle_minutes:g} minutes: ending")
    finally:
        _stop(list(processes.values()))


def make_command(pool: str, queue: str, name: str) -> list[str]:
    """Return the command of one worker."""
    prefect = str(Path(sys.executable).parent / "prefect")
    options = ["--pool", pool, "--type", "process", "--limit", "1", "--work-queue", queue, "--name", name]
    return [prefect, "worker", "start", "--no-create-pool-if-not-found", *options]


def make_environment(device: WorkerDevice, home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one worker and its runs, in which `python` is this interpreter."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    own = {
        "PATH": path,
        HOME_VARIABLE: str(home),
        "PREFECT_HOME": str(home / "prefect"),
        DEVICES_VARIABLE: device.visible,
    }
    return {**_DEFAULTS, **environment, **own}


def has_run(worker: int) -> bool:
    """Return whether a worker's process has a run at work: a child process."""
    try:
        return any(path.read_text().strip() for path in Path(f"/proc/{worker}/task").glob("*/children"))
    except OSError:
        return False


def _start(command: Sequence[str], device: WorkerDevice, home: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=make_environment(device, home, os.environ),
        stdin=subprocess.DEVNULL,
        preexec_fn=_prepare_child,
        start_new_session=True,
    )


def _prepare_child() -> None:
    """Obey signals that a shell's background job ignores, and end when the process that started this one is killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    until_s = time.monotonic() + _STOP_TIMEOUT_S
    for process in processes:
        try:
            process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _list_gpus() -> list[str]:
    visible = os.environ.get(DEVICES_VARIABLE)
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def _are_gpu_names(names: Sequence[str]) -> bool:
    return all(name.isdigit() or name.startswith(("GPU-", "MIG-")) for name in names)
