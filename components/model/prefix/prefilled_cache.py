"""Prefixes as a prefilled key/value cache: the faster way to decode with a decoder-only model.

Knows transformers' cache and stacked prefixes; does not know models, positions or decoding.
"""

from typing import Any

from components.model.prefix.batch import PrefixBatch


def make_prefilled_cache(prefix_batch: PrefixBatch) -> Any:
    """Make a `DynamicCache` that holds the slots of the decoder's self-attention.

    Prepend `prefix_batch.mask_BP` to the tokens' attention mask, and pass `position_ids` from
    `components.model.prefix.attach.compute_positions`, because a forward does not derive them from the mask.
    """
    from transformers import DynamicCache

    return DynamicCache(list(prefix_batch.decoder_layers)) if prefix_batch.max_length else DynamicCache()
