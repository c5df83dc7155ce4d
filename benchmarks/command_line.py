"""Seconds that commands take with nothing new to do: at four tenants, and `status` and `rollout` at 10,000.

    python benchmarks/command_line.py [--workspace DIR] [--old CHECKOUT] [--runs 5] [--tenants 10000]

Each command is a process of its own, as a user starts it, with the files in the page cache. `--workspace`: a clone in
which `prefixfleet demo` has run (default: one is made, which takes minutes). `--old`: a checkout of another revision,
whose commands alternate with this one's, each on a copy of the workspace. CPU seconds are those of the process and all
that it started: they change less than the time if other work runs beside it.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness.mlflow_tables import write_mlflow_tables
from harness.options import format_spread
from harness.workspaces import make_tenant_ids
from planning import SETTLE_S, build_workspace

PROJECT = Path(__file__).resolve().parents[1]
TENANT = "harbour-log"
COMMANDS = (
    ("--help",),
    ("status",),
    ("history", TENANT),
    ("keys", "list"),
    ("data", "check"),
    ("generate", TENANT, "x"),
    ("rollout",),
    ("retrain",),
)
FLEET_COMMANDS = (("status",), ("rollout",))
_PREFIX_KIB = 4


def main() -> None:
    """Make the workspaces, run the commands in turn and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--old", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tenants", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = chosen.workspace or _run_demo(Path(folder) / "demo")
        print(f"four tenants, median [least, greatest] of {chosen.runs}")
        _compare(small, Path(folder) / "small", COMMANDS, chosen)
        if chosen.tenants:
            large = _make_fleet(Path(folder) / "fleet", chosen.tenants)
            print(f"{chosen.tenants:,} tenants")
            _compare(large, Path(folder) / "large", FLEET_COMMANDS, chosen)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _compare(workspace: Path, folder: Path, commands: Sequence[tuple[str, ...]], chosen: argparse.Namespace) -> None:
    codes = {"new": PROJECT, **({"old": chosen.old} if chosen.old else {})}
    copies = {name: folder / name for name in codes}
    for copy in copies.values():
        shutil.copytree(workspace, copy, symlinks=True)
    time.sleep(SETTLE_S)
    for command in commands:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
        for run in range(chosen.runs + 1):
            for name, code in codes.items():
                seconds = _time_command(code, copies[name], command)
                if run:  # the first brings the files up to date and into the page cache
                    taken[name].append(seconds)
        for name, runs in taken.items():
            times, cpu = (format_spread([one[number] for one in runs]) for number in (0, 1))
            print(f"{' '.join(command):22} {name}  {times} s   CPU {cpu} s", flush=True)


def _time_command(code: Path, workspace: Path, command: Sequence[str]) -> tuple[float, float]:
    """Run a command of a checkout; return its seconds and its CPU seconds."""
    environment = {**os.environ, "PYTHONPATH": str(code), "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-P", "-m", "cli.main", "-C", str(workspace), *command]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(line, env=environment, capture_output=True, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run_demo(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(folder)], check=True)
    _time_command(PROJECT, folder, ["demo"])
    return folder


def _make_fleet(folder: Path, tenants: int) -> Path:
    build_workspace(folder, tenants, _PREFIX_KIB)
    ids = make_tenant_ids(tenants)
    write_mlflow_tables("sqlite:///var/mlflow/mlflow.db", folder, ids, ids[:1])
    return folder


if __name__ == "__main__":
    main()
