"""Measure the machine's best rate of matrix products in the shapes of a base, and its best rate of copying memory.

Shapes: T tokens, I inputs and O outputs of a matrix of weights.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from harness.alternating_runs import WaitForTurn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_COPY_BYTES = 2**28
_REPEATS = 3
_GPU_CALLS = 16
"""Calls that are timed together on a GPU, which starts a call while it computes the one before."""


def measure_rates(
    wait_for_turn: WaitForTurn, matrices: tuple[tuple[int, int], ...], tokens: int, parts: int
) -> dict[str, Any]:
    """Return the best rate of each dtype over all shapes in FLOP/s, and `copy` in bytes read and written per second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    best = dict.fromkeys([*DTYPES, "copy"], 0.0)
    source = torch.zeros(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    wait_for_turn()
    for _ in range(parts):
        best["copy"] = max(best["copy"], 2 * _COPY_BYTES / _time_call(lambda: target.copy_(source)))
        for name, dtype in DTYPES.items():
            for inputs, outputs in matrices:
                rate = 2 * tokens * inputs * outputs / _time_product(tokens, inputs, outputs, dtype, device)
                best[name] = max(best[name], rate)
        wait_for_turn()
    return best


def describe_device() -> str:
    """Return the name of the device that is measured."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({torch.get_num_threads()} threads)"


def _time_product(tokens: int, inputs: int, outputs: int, dtype: torch.dtype, device: str) -> float:
    values_TI = torch.randn(tokens, inputs, device=device).to(dtype)
    weight_OI = torch.randn(outputs, inputs, device=device).to(dtype)
    return _time_call(lambda: torch.nn.functional.linear(values_TI, weight_OI))


def _time_call(work: Callable[[], object]) -> float:
    """Return the shortest of a few runs after a warm-up run."""
    seconds, calls = [], _GPU_CALLS if torch.cuda.is_available() else 1
    for _ in range(_REPEATS + 1):
        _synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            work()
        _synchronize()
        seconds.append((time.perf_counter() - started) / calls)
    return min(seconds[1:])


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
