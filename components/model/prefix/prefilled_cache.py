"""Prefixes as a prefilled key/value cache: the fast way to decode with a decoder-only model.

Knows transformers' cache and rows of prefixes; does not know models, positions or decoding.
"""

from typing import Any

from components.model.prefix.batch import PrefixBatch


def make_prefilled_cache(block: PrefixBatch) -> Any:
    """A `DynamicCache` that already holds the block's slots of the decoder's self-attention.

    Put the block's mask before the tokens' attention mask, and pass `position_ids` from
    `components.model.prefix.attach.positions`, because a forward does not derive them from the mask.
    """
    from transformers import DynamicCache

    return DynamicCache(list(block.decoder_layers)) if block.max_length else DynamicCache()
