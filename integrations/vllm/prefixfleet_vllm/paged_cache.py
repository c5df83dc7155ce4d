"""Writes slots into vLLM's paged KV cache, and erases blocks of it.

The attention backend's own `do_kv_cache_update` writes, so the layout of the cache stays the backend's business. Knows
layers and blocks; does not know artifacts.

Shapes: T token slots, H key/value heads of this rank, D head size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prefixfleet_vllm.artifact_loader import SlotLayers
from prefixfleet_vllm.commands import BlockIds
from prefixfleet_vllm.head_slices import LayerShape

_ERASE_SLOTS = 4096
"""Slots that are erased in one call."""


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """One attention layer with keys and values of its own."""

    module: Any
    """vLLM's attention layer, with `impl` and `kv_cache`."""
    group: int
    """Of the KV cache groups, which have block tables of their own."""
    block_size: int
    shape: LayerShape


@dataclass(frozen=True, slots=True)
class SlotWrite:
    """Slots `start` to `stop` of an artifact, for a request's blocks."""

    layers: SlotLayers
    start: int
    stop: int
    block_ids: BlockIds


def write_slots(cache: Sequence[CacheLayer], writes: Sequence[SlotWrite]) -> None:
    """Write slots of several requests, in one call a layer."""
    tables: dict[int, tuple[Tensor, list[tuple[SlotWrite, list[int]]]]] = {}
    for number, layer in enumerate(cache):
        if layer.group not in tables:
            tables[layer.group] = _find_token_slots(layer, writes)
        slots_T, parts = tables[layer.group]
        key_THD = torch.cat([write.layers[number][0][positions] for write, positions in parts])
        value_THD = torch.cat([write.layers[number][1][positions] for write, positions in parts])
        _update(layer, key_THD, value_THD, slots_T)


def erase_blocks(cache: Sequence[CacheLayer], first_slots: Mapping[int, int]) -> None:
    """Overwrite blocks with zeros, each from its first slot that is given."""
    for layer in cache:
        slots = [
            block * layer.block_size + slot
            for block, first in first_slots.items()
            for slot in range(first, layer.block_size)
        ]
        kv_cache, shape = layer.module.kv_cache, layer.shape
        for start in range(0, len(slots), _ERASE_SLOTS):
            slots_T = torch.tensor(slots[start : start + _ERASE_SLOTS], dtype=torch.int64, device=kv_cache.device)
            sizes = [(len(slots_T), shape.rank_heads, size) for size in (shape.key_size, shape.value_size)]
            key_THD, value_THD = (kv_cache.new_zeros(size) for size in sizes)
            _update(layer, key_THD, value_THD, slots_T)


def _find_token_slots(
    layer: CacheLayer, writes: Sequence[SlotWrite]
) -> tuple[Tensor, list[tuple[SlotWrite, list[int]]]]:
    """Return the slots in a group's cache for all writes, and the positions that each write has there.

    A group may lack blocks at the front (block 0 is vLLM's null block): nothing is written there.
    """
    slots: list[int] = []
    parts = []
    for write in writes:
        blocks, size = write.block_ids[layer.group], layer.block_size
        positions = [at for at in range(write.start, write.stop) if blocks[at // size]]
        slots += [blocks[at // size] * size + at % size for at in positions]
        parts.append((write, positions))
    return torch.tensor(slots, dtype=torch.int64, device=layer.module.kv_cache.device), parts


def _update(layer: CacheLayer, key_THD: Tensor, value_THD: Tensor, slots_T: Tensor) -> None:
    kv_cache = layer.module.kv_cache
    layer.module.impl.do_kv_cache_update(layer.module, key_THD, value_THD, kv_cache, slots_T)
