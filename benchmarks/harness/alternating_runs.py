"""Time sides in turns, each in a process of its own, and read what memory each took at most.

A side's `work(turn, *arguments)` loads, warms up, and calls `turn()` before its first part and after every part: there
it waits, idle, while the others have theirs. What it returns are its facts. Knows nothing of training.
"""

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WaitForTurn = Callable[[], None]


@dataclass(frozen=True)
class Contender:
    """Something to time: importable work, what it is given, and in how many parts it runs."""

    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    part_count: int


@dataclass(frozen=True)
class ContenderResult:
    """What a side took."""

    part_seconds: tuple[float, ...]
    """Of each part."""
    peak_bytes: int
    """Of the process (resident) or of the GPU (allocated), from `reset_peak_memory` on."""
    facts: dict[str, Any]


def run_in_turns(sides: Mapping[str, Contender]) -> dict[str, ContenderResult]:
    """Start all sides, one after the other, then run their parts alternately, as evenly as their numbers allow.

    A side that fails ends the benchmark; its traceback is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    processes, pipes = {}, {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    try:
        for name, side in sides.items():
            pipes[name], end = context.Pipe()
            processes[name] = context.Process(target=_run_contender, args=(end, side))
            processes[name].start()
            end.close()
            _receive(pipes[name], name)
        for _, name in sorted(
            ((part + 0.5) / side.part_count, name) for name, side in sides.items() for part in range(side.part_count)
        ):
            pipes[name].send(None)
            seconds[name].append(_receive(pipes[name], name))
        outcomes = {}
        for name in sides:
            pipes[name].send(None)
            facts, peak = _receive(pipes[name], name)
            outcomes[name] = ContenderResult(tuple(seconds[name]), peak, facts)
            processes[name].join()
        return outcomes
    finally:
        for process in processes.values():
            process.terminate()


def reset_peak_memory(*models: Any) -> int:
    """Bytes taken once a side has loaded its models; the peak counts from here on. A file that is mapped is read."""
    import torch

    for model in models:
        for weight in model.parameters():
            weight.sum()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return reset_peak_resident_memory()


def reset_peak_resident_memory() -> int:
    """Let VmHWM, this process's greatest resident memory, count from here on; returns the bytes of now."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_status_bytes("VmRSS")


def _run_contender(pipe: Connection, side: Contender) -> None:
    import torch

    started: float | None = None

    def turn() -> None:
        nonlocal started
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        pipe.send(None if started is None else time.perf_counter() - started)
        pipe.recv()
        started = time.perf_counter()

    facts = side.function(turn, *side.arguments)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else read_status_bytes("VmHWM")
    pipe.send((facts, peak))


def _receive(pipe: Connection, name: str) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        sys.exit(f"{name} failed: its traceback stands above")


def read_status_bytes(field: str) -> int:
    """A figure of this process, in bytes. Unlike `ru_maxrss` it is not inherited from the process that started it."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        sys.exit(f"wanted: {field} in /proc/self/status, which Linux has; got: none; fix: run on Linux")
    return 1024 * int(found[1])
