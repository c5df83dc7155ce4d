"""Prefixes as a prefilled key/value cache: the fast way to decode with a decoder-only model.

Knows prefixes and transformers' cache; does not know models, positions or decoding.

Shapes: B batch rows, H key/value heads, P slots of the longest prefix, D head size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from components.model.prefix import Prefix
from components.model.rows import Rows, stack_rows


def prefix_cache(rows: Sequence[Prefix | None], device: torch.device | str, dtype: torch.dtype) -> tuple[Any, Tensor]:
    """A `DynamicCache` that already holds every row's prefix, and the mask [B, P] (long) of its slots.

    Shorter prefixes stand at the right, padded on their left. Put the mask before the tokens' attention mask, and pass
    `position_ids` from `components.model.attach.positions`, because a forward does not derive them from the mask.
    For beam search repeat every row in `rows` by the number of beams.

    Raises:
        BaseModelError: the prefixes are of different bases.
    """
    block = stack_rows(rows, device, dtype)
    return cache_of(block), block.mask_BP.long()


def cache_of(block: Rows) -> Any:
    """A `DynamicCache` that already holds the block's slots of the decoder's self-attention."""
    from transformers import DynamicCache

    return DynamicCache(list(block.layers)) if block.longest else DynamicCache()
