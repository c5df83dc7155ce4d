"""Where a base's layers are: on one device, or divided among several by accelerate.

Knows device maps as transformers takes them; does not know prefixes.
"""

from collections.abc import Mapping
from typing import Any

import torch

from components.config import BaseConfig
from components.errors import BaseModelError, ConfigError
from components.model.ranks import count_processes

_OFFLOADED = ("disk", "meta")
_SHOWN_PARTS = 3


def choose_device_map(config: BaseConfig, device: torch.device | str | None) -> Any:
    """Return the `device_map` of `from_pretrained`: `base.device_map`, or all on `device`.

    Without either: on a GPU if there is one. transformers reads each tensor from its file to its device, so that host
    memory never holds the model twice, and of a model for GPUs one tensor at a time.

    Raises:
        ConfigError: a device was chosen, as each process of a training with several does, and `base.device_map` is set;
            the map names a GPU that this machine does not have; or torchrun has started several processes of something
            else than a command of PrefixFleet.
    """
    if count_processes() > 1 and device is None:
        got = f"{count_processes()} processes of torchrun that have not joined each other"
        raise ConfigError("one process, or a command", got, "start torchrun with -m cli.main, or without torchrun")
    if config.device_map is None:
        return {"": device or ("cuda" if torch.cuda.is_available() else "cpu")}
    if device is not None:
        got = f"base.device_map: {config.device_map}, and a base on {device}"
        raise ConfigError("one place for the base", got, "set engine.processes to 1, or base.device_map to null")
    if isinstance(config.device_map, dict):
        _check_devices(config.device_map)
        return dict(config.device_map)
    return config.device_map


def _check_devices(device_map: Mapping[str, int | str]) -> None:
    count = torch.cuda.device_count()
    missing = [one for one in device_map.values() if isinstance(one, int) and not 0 <= one < count]
    if missing:
        got = f"base.device_map: GPU {missing[0]}, and {count} GPUs on this machine"
        raise ConfigError("devices of this machine", got, "correct base.device_map in params.yaml")


def get_first_device(device_map: Any) -> torch.device | str:
    """Return a device of the map, whose type is that of all."""
    if isinstance(device_map, dict):
        return next(iter(device_map.values()), "cpu")
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_placement(model: Any, path: str) -> None:
    """Check that every layer stays on a device that computes it.

    Raises:
        BaseModelError: layers are offloaded to the disk, or from GPUs to host memory.
    """
    placed: dict[str, Any] = getattr(model, "hf_device_map", {})
    has_gpu = any(str(one) not in ("cpu", *_OFFLOADED) for one in placed.values())
    offloaded = [part for part, one in placed.items() if one in _OFFLOADED or (has_gpu and str(one) == "cpu")]
    if offloaded:
        more = f" and {len(offloaded) - _SHOWN_PARTS} more" if len(offloaded) > _SHOWN_PARTS else ""
        got = f"{path}: no memory for {', '.join(map(repr, offloaded[:_SHOWN_PARTS]))}{more}"
        fix = "use more or larger GPUs, base.dtype: bfloat16, or base.quantize"
        raise BaseModelError("devices that hold the whole base", got, fix)


def is_divided(model: Any) -> bool:
    """Whether accelerate moves activations between the parts of a model."""
    return len({str(one) for one in getattr(model, "hf_device_map", {}).values()}) > 1
