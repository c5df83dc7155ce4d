"""Cache layers with room ahead, for decoding with beams. Knows transformers' cache; does not know models or prefixes.

Shapes: B rows x beams, H key/value heads, S slots seen so far, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

_SLOTS_AT_ONCE = 32


class Slots(DynamicLayer):  # type: ignore[misc]
    """A cache layer with room ahead: a step writes one slot in place, where a `DynamicLayer` copies all of them.

    What the prefill left is the same in all beams of a row, so that a reordering moves only what came after it.
    """

    def __init__(self, prefilled: Any, beams: int) -> None:
        """Take over what `prefilled` holds, every row `beams` times in place."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = prefilled.keys.dtype, prefilled.keys.device, True
        self.used = self.common = prefilled.keys.shape[2]
        # [2, B, H, S, D]: keys and values.
        self.room = torch.stack([prefilled.keys, prefilled.values]).repeat_interleave(beams, dim=1)
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [B, H, T, D]; returns all of them."""
        end = self.used + key_states.shape[2]
        if end > self.room.shape[3]:
            shape = list(self.room.shape)
            shape[3] = end + _SLOTS_AT_ONCE
            wider = self.room.new_empty(shape)
            wider[:, :, :, : self.used] = self.room[:, :, :, : self.used]
            self.room = wider
        self.room[0, :, :, self.used : end] = key_states
        self.room[1, :, :, self.used : end] = value_states
        self.used = end
        self._show()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these beams; every beam stays within its row."""
        late = self.room[:, :, :, self.common : self.used]
        late.copy_(late.index_select(1, beam_idx))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows alone."""
        self.room = self.room.index_select(1, indices)
        self._show()

    def _show(self) -> None:
        self.keys, self.values = self.room[:, :, :, : self.used].unbind(0)
