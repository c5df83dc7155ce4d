"""The free memory of a device. Knows no model."""

from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def read_free_bytes(device: torch.device) -> float:
    """Return the free memory of a GPU; on a CPU that of the machine or of the process's control group, if lower."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = float(psutil.virtual_memory().available)
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, float(limit) - float(used))
