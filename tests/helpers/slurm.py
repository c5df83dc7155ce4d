"""A Slurm of one node on loopback, with munge of its own; all files in one folder. Needs root, slurm-wlm and munge."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from processes import find_free_port
from waiting import LIMIT_S, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue")
_DEVICES = ("/dev/null", "/dev/zero")
"""What Slurm takes for GPUs here: it hands out their numbers and does not open them."""
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def find_reason_to_skip() -> str | None:
    """Say why no Slurm can be started here; None if it can."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing:
        return f"Slurm is not installed (no {', '.join(missing)}); Debian: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "a Slurm of one node starts its jobs as root only"


class Slurm:
    """The running cluster: its settings, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}

    def run(self, *command: str, **environment: str) -> str:
        """Run a command of Slurm; return what it prints."""
        done = self._try_run(command, environment)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def is_idle(self) -> bool:
        """Whether the controller answers and its node waits for jobs."""
        return self._try_run(("sinfo", "--noheader", "--format=%T"), {}).stdout.strip() == "idle"

    def read_state(self, job: str) -> str:
        """Return a job's state, such as RUNNING or COMPLETED."""
        fields = dict(word.split("=", 1) for word in self.run("scontrol", "show", "job", job).split() if "=" in word)
        return fields["JobState"]

    def _try_run(self, command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, **environment, **self.environment}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@contextmanager
def run_slurm(folder: Path) -> Iterator[Slurm]:
    """Start munge, Slurm's controller and one node with two GPUs that are no devices; stop them at the end."""
    folder.mkdir(parents=True)
    _write_settings(folder)
    slurm = Slurm(folder)
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.log").open("ab") as log:
            environment = {**os.environ, **slurm.environment}
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))

    try:
        start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
              f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed")  # fmt: skip
        wait_until((folder / "munge.socket").exists, "munge's socket")
        start("slurmctld", "-D")
        start("slurmd", "-D")
        wait_until(slurm.is_idle, "Slurm's node")
        try:
            yield slurm
        finally:
            slurm.run("scancel", "--user=root")
            wait_until(lambda: not slurm.run("squeue", "--noheader"), "the end of all jobs")
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)


def _write_settings(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    host = socket.gethostname().split(".")[0]
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": find_free_port(),
        "SlurmdPort": find_free_port(),
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "GresTypes": "gpu",
        "KillWait": 30,
        "ReturnToService": 2,
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    cpus = os.cpu_count()
    lines += [
        f"NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{len(_DEVICES)}",
        f"PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP",
    ]
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    devices = [f"NodeName={host} Name=gpu File={device}\n" for device in _DEVICES]
    (folder / "gres.conf").write_text("".join(devices), encoding="utf-8")
