"""Cache layers with spare slots, for decoding with beams. Knows transformers' cache; does not know models or prefixes.

Shapes: B rows x beams, H key/value heads, S slots seen so far, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

_SLOTS_PER_GROWTH = 32


class GrowingCacheLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer that writes each step in place, while a `DynamicLayer` copies all slots.

    The slots of the prefill are the same in all beams of a row, so reordering beams copies only later slots.
    """

    def __init__(self, prefilled: Any, beams: int) -> None:
        """Start from the layer `prefilled`, with every row repeated `beams` times."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = prefilled.keys.dtype, prefilled.keys.device, True
        self.used_slots = self.shared_slots = prefilled.keys.shape[2]
        # [2, B, H, S, D]: keys and values.
        self.buffer = torch.stack([prefilled.keys, prefilled.values]).repeat_interleave(beams, dim=1)
        self._update_views()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [B, H, T, D]. Return all keys and values."""
        end = self.used_slots + key_states.shape[2]
        if end > self.buffer.shape[3]:
            shape = list(self.buffer.shape)
            shape[3] = end + _SLOTS_PER_GROWTH
            wider = self.buffer.new_empty(shape)
            wider[:, :, :, : self.used_slots] = self.buffer[:, :, :, : self.used_slots]
            self.buffer = wider
        self.buffer[0, :, :, self.used_slots : end] = key_states
        self.buffer[1, :, :, self.used_slots : end] = value_states
        self.used_slots = end
        self._update_views()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these beams, in this order; every beam stays within its row."""
        new = self.buffer[:, :, :, self.shared_slots : self.used_slots]
        new.copy_(new.index_select(1, beam_idx))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, in this order."""
        self.buffer = self.buffer.index_select(1, indices)
        self._update_views()

    def _update_views(self) -> None:
        self.keys, self.values = self.buffer[:, :, :, : self.used_slots].unbind(0)
