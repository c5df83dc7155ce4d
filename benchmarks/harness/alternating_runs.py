"""Time contenders alternately, each in its own process, and read the peak memory of each.

A contender's `function(wait_for_turn, *arguments)` loads, warms up, and calls `wait_for_turn()` before its first part
and after every part; the call returns when the other contenders have run their parts. The function returns facts for
the benchmark's table. Knows nothing of training or serving.
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
"""Ends a part of a contender; returns when its next part may start."""


@dataclass(frozen=True)
class Contender:
    """Work to time: an importable function, its arguments, and the number of parts in which it runs."""

    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    part_count: int


@dataclass(frozen=True)
class ContenderResult:
    """The times and the peak memory of a contender."""

    part_seconds: tuple[float, ...]
    """Seconds of each part."""
    peak_bytes: int
    """Peak memory of the process (resident) or of the GPU (allocated) after `reset_peak_memory` was called."""
    facts: dict[str, Any]


def run_alternately(contenders: Mapping[str, Contender]) -> dict[str, ContenderResult]:
    """Start all contenders one after the other, then run their parts alternately, as evenly as their numbers allow.

    If a contender fails, the benchmark ends; the traceback is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    processes, pipes = {}, {}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    try:
        for name, contender in contenders.items():
            pipes[name], end = context.Pipe()
            processes[name] = context.Process(target=_run_contender, args=(end, contender))
            processes[name].start()
            end.close()
            _receive(pipes[name], name)
        schedule = sorted(
            ((part + 0.5) / contender.part_count, name)
            for name, contender in contenders.items()
            for part in range(contender.part_count)
        )
        for _, name in schedule:
            pipes[name].send(None)
            seconds[name].append(_receive(pipes[name], name))
        outcomes = {}
        for name in contenders:
            pipes[name].send(None)
            facts, peak = _receive(pipes[name], name)
            outcomes[name] = ContenderResult(tuple(seconds[name]), peak, facts)
            processes[name].join()
        return outcomes
    finally:
        for process in processes.values():
            process.terminate()


def reset_peak_memory(*models: Any) -> int:
    """Return the bytes of memory in use and measure the peak from now on; first read weights that are mapped."""
    import torch

    for model in models:
        for weight in model.parameters():
            weight.sum()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return reset_peak_resident_memory()


def reset_peak_resident_memory() -> int:
    """Reset VmHWM, this process's peak resident memory, and return its resident memory now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_status_bytes("VmRSS")


def _run_contender(pipe: Connection, contender: Contender) -> None:
    started: float | None = None

    def wait_for_turn() -> None:
        nonlocal started
        if cuda := _find_cuda():
            cuda.synchronize()
        pipe.send(None if started is None else time.perf_counter() - started)
        pipe.recv()
        started = time.perf_counter()

    facts = contender.function(wait_for_turn, *contender.arguments)
    cuda = _find_cuda()
    pipe.send((facts, cuda.max_memory_allocated() if cuda else read_status_bytes("VmHWM")))


def _find_cuda() -> Any:
    """Return `torch.cuda` if this process has imported torch and has a GPU, otherwise None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _receive(pipe: Connection, name: str) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        sys.exit(f"{name} failed; the traceback is above")


def read_status_bytes(field: str) -> int:
    """Return a field of /proc/self/status in bytes. Unlike `ru_maxrss`, it does not include the parent process."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        sys.exit(f"wanted: {field} in /proc/self/status; got: none; fix: run on Linux")
    return 1024 * int(match[1])
