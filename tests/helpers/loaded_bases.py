"""Bases of workspaces that one process has loaded once: every stage loads its base, and tests run many stages.

What is given out is a copy, so nothing that one holder does to its model is seen by another. Only small bases, loaded
as they are on the CPU, are kept; every other one is loaded each time.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from cachetools import LRUCache

if TYPE_CHECKING:
    from components.config import BaseConfig
    from components.model.base.load import Base

UNKNOWN_DIGEST = "0" * 64
"""Of bases that were not loaded from files."""
_KEPT_BASES = 8
_LARGEST_BYTES = 1 << 23
_PLAIN = {"quantize": None, "device_map": None, "chat_template": None}


class LoadedBases:
    """Takes the place of `load_base` for workspaces."""

    def __init__(self, load: "Callable[..., Base]") -> None:
        self._load = load
        self._kept: LRUCache[str, Base] = LRUCache(_KEPT_BASES)
        self._lock = Lock()

    def load(self, config: "BaseConfig", **options: Any) -> "Base":
        """Return a copy of the base that was loaded from the same files with the same config; else load it."""
        if options:
            return self._load(config, **options)
        folder = Path(config.path)
        is_plain = all(getattr(config, name) == value for name, value in _PLAIN.items())
        if not is_plain or torch.cuda.is_available() or not folder.is_dir() or _count_bytes(folder) > _LARGEST_BYTES:
            return self._load(config)
        key = _describe(config, folder)
        with self._lock:  # a server in a thread loads its base beside the tests' own
            if key not in self._kept:
                self._kept[key] = self._load(config)
            kept = self._kept[key]
        model, tokenizer = copy.deepcopy((kept.model, kept.tokenizer))
        return replace(kept, model=model, tokenizer=tokenizer, name=folder.name)


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _list_files(folder))


def _describe(config: "BaseConfig", folder: Path) -> str:
    digest = hashlib.sha256(config.model_dump_json(exclude={"path"}).encode())
    for path in _list_files(folder):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(folder)} {len(content)}\0".encode() + content)
    return digest.hexdigest()


def measure_once(measure: "Callable[[Base], float]") -> "Callable[[Base], float]":
    """Return a function that measures one of the bases loaded from the same files; others are measured each time."""
    measured: dict[tuple[str, torch.dtype], float] = {}

    def find(base: "Base") -> float:
        if base.digest == UNKNOWN_DIGEST:
            return measure(base)
        key = base.digest, base.model.dtype
        if key not in measured:
            measured[key] = measure(base)
        return measured[key]

    return find
