"""The processor time that services have used, with their child processes, from /proc."""

import os
from collections.abc import Mapping
from pathlib import Path


def read_service_seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """Return service -> seconds of its process, its running children, and those that have ended and were waited for."""
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has ended
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        seconds[int(folder.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def add_up(process: int) -> float:
        return seconds.get(process, 0.0) + sum(map(add_up, children.get(process, ())))

    return {name: add_up(process) for name, process in processes.items()}


def describe_seconds(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Return the differences in one line, the largest first; workers together."""
    used: dict[str, float] = {}
    for name, seconds in after.items():
        kind = "workers" if name.startswith("worker ") else name
        used[kind] = used.get(kind, 0.0) + seconds - before.get(name, 0.0)
    return ", ".join(f"{kind} {seconds:.0f}" for kind, seconds in sorted(used.items(), key=lambda pair: -pair[1]))
