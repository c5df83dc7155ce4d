"""Which number type a machine multiplies fastest; measured, since on some CPUs 16 bits are slower. Knows devices."""

import math
import time

import torch

_SIZE = 1024
_TIMES = 1
_TURNS = 6
_FASTER = 1.2
"""Below this ratio the exacter type is kept."""


def fastest_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where products of it are clearly faster on `device` than products of float32, else float32.

    The two take turns, so that other work on the machine slows neither alone. Takes a second or so.
    """
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    for _ in range(_TURNS):
        for dtype, least in seconds.items():
            seconds[dtype] = min(least, _product_seconds(device, dtype))
    return torch.bfloat16 if seconds[torch.float32] > _FASTER * seconds[torch.bfloat16] else torch.float32


def _product_seconds(device: torch.device | str, dtype: torch.dtype) -> float:
    """The least of several times, so that other work on the machine counts little."""
    left, right = (torch.ones(_SIZE, _SIZE, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(_TIMES + 1):
        began = time.perf_counter()
        float((left @ right)[0, 0])
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
