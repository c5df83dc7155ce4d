"""Measure which number type a device multiplies fastest: on some CPUs 16 bits are slower than 32. Knows devices."""

import math
import time

import torch

_MATRIX_SIZE, _GPU_MATRIX_SIZE = 1024, 4096
"""A GPU multiplies small matrices in less time than a product takes to start."""
_TIMED_PRODUCTS = 1
_ROUNDS = 6
_MIN_SPEEDUP = 1.2
"""bfloat16 must be at least this many times as fast as float32 to be chosen."""
_HOPELESS_SLOWDOWN = 10.0
"""If bfloat16 takes this many times as long, as on a CPU without 16-bit products, it is not measured again."""


def measure_fastest_dtype(device: torch.device | str) -> torch.dtype:
    """Return bfloat16 if `device` multiplies it clearly faster than float32, else float32. Takes about a second.

    The two types are measured alternately, so that other work on the machine slows both.
    """
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    for _ in range(_ROUNDS):
        for dtype, least in seconds.items():
            seconds[dtype] = min(least, _measure_product_seconds(device, dtype))
        if seconds[torch.bfloat16] > _HOPELESS_SLOWDOWN * seconds[torch.float32]:
            break
    return torch.bfloat16 if seconds[torch.float32] > _MIN_SPEEDUP * seconds[torch.bfloat16] else torch.float32


def _measure_product_seconds(device: torch.device | str, dtype: torch.dtype) -> float:
    """The shortest of several measurements, to reduce the effect of other work on the machine."""
    size = _MATRIX_SIZE if torch.device(device).type == "cpu" else _GPU_MATRIX_SIZE
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(_TIMED_PRODUCTS + 1):
        began = time.perf_counter()
        float((left @ right)[0, 0])
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
