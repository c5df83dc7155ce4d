"""The plain counterpart of `components.model.decoding.beam_tree`: one whole cache per beam, copied at every reordering.

Tests compare the two. Knows transformers' cache; does not know models or how a token is chosen.

Shapes: B rows, K beams, R = B x K, S slots, H key/value heads, D head size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache


class CopiedBeamCache:
    """The layers of a batch, with every row K times; has the interface of `BeamTree`."""

    def __init__(self, prefilled: Sequence[Any], mask_BS: Tensor, beams: int) -> None:
        """Repeat the layers of a prefill K times."""
        self.beams = beams
        self.cache = DynamicCache([(layer.keys, layer.values) for layer in prefilled])
        self.cache.batch_repeat_interleave(beams)
        self.mask_RS = mask_BS.long().repeat_interleave(beams, dim=0)

    def prepare_inputs(self, token_BK: Tensor, position_B1: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the model's inputs that append one token to every beam."""
        del dtype
        self.mask_RS = pad(self.mask_RS, (0, 1), value=1)
        position_R1 = position_B1.expand_as(token_BK).flatten()[:, None]
        return {"input_ids": token_BK.flatten()[:, None], "attention_mask": self.mask_RS, "position_ids": position_R1}

    def reorder(self, parent_BK: Tensor) -> None:
        """Keep these beams of every row, in this order."""
        first_B1 = torch.arange(len(parent_BK), device=parent_BK.device)[:, None] * self.beams
        self._select((first_B1 + parent_BK).flatten())

    def keep(self, kept_B: Tensor) -> None:
        """Keep these rows, in this order."""
        self._select((kept_B[:, None] * self.beams + torch.arange(self.beams, device=kept_B.device)).flatten())

    def join(self, other: "CopiedBeamCache") -> None:
        """Append the rows of `other`, right-aligned."""
        longest = max(self.mask_RS.shape[1], other.mask_RS.shape[1])
        for layer, more in zip(self.cache.layers, other.cache.layers, strict=True):
            for name in ("keys", "values"):
                sides = [getattr(one, name) for one in (layer, more)]
                setattr(layer, name, torch.cat([pad(side, (0, 0, longest - side.shape[2], 0)) for side in sides]))
        masks = [pad(one.mask_RS, (longest - one.mask_RS.shape[1], 0)) for one in (self, other)]
        self.mask_RS = torch.cat(masks)

    def _select(self, index_R: Tensor) -> None:
        self.cache.batch_select_indices(index_R)
        self.mask_RS = self.mask_RS[index_R]
