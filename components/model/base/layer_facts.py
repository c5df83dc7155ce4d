"""Describe a base's layers for people: which have slots, why others have none, and what kind of attention they have.

It was found by watching (`attention_sites`, `cache_layout`). Does not know what PrefixFleet does with a base.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from components.model.base.attention_sites import AttentionLayer, find_attention_layers
from components.model.base.blocks import TransformerBlock, find_all_blocks
from components.model.base.cache_layout import find_cached_layers
from components.model.base.shapes import DECODER


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer of a base."""

    path: str
    attention: tuple[AttentionLayer, ...]
    """Its attention modules; an encoder-decoder model's decoder has two in a layer."""
    reason: str = ""
    """Why it has no slots; "" if it has."""


def describe_layers(model: Any) -> list[LayerFacts]:
    """Return the facts of every layer, those of an encoder first.

    Raises:
        BaseModelError: as `find_attention_layers`.
    """
    found, blocks = find_attention_layers(model), find_all_blocks(model)
    with_attention = [block for block in blocks if any(part in found for part in block.module.modules())]
    usual = {type(child) for block in with_attention for child in block.module.children()}
    return [_describe_layer(block, found, usual) for block in blocks]


def describe_attention(model: Any) -> str:
    """Return what the decoder's attention is, in the words of docs/bases.md.

    Raises:
        BaseModelError: as `find_attention_layers`.
    """
    layers = [one for one in find_attention_layers(model).values() if one.site == DECODER]
    cached = () if model.config.is_encoder_decoder else find_cached_layers(model)
    kinds = {one.span.kind for one in layers}
    names = {"all": "full", "window": "sliding windows", "chunk": "chunks"}
    words = " and ".join(name for kind, name in names.items() if kind in kinds)
    kept = [one for one in cached if one.token_size]
    own = [one for one in layers if not one.is_shared]
    if kept and [one.heads for one in kept] != [one.shape.kv_heads for one in own]:
        words = "latent (slots are expanded keys and values)"
    elif len({one.shape for one in own}) > 1:
        words += " of different head sizes"
    if any(one.state_size for one in cached):
        words += " (with slots) and recurrent layers"
    if any(one.is_shared for one in layers):
        words += ", layers that share keys and values"
    if any(one.is_capped for one in layers):
        words += ", soft-capped scores"
    if any(one.has_sinks for one in layers):
        words += ", learned sinks"
    return words


def _describe_layer(
    block: TransformerBlock, found: dict[nn.Module, AttentionLayer], usual: set[type[nn.Module]]
) -> LayerFacts:
    own = tuple(found[part] for part in block.module.modules() if part in found)
    if not own:
        parts = [child for child in block.module.children() if type(child) not in usual] or [block.module]
        return LayerFacts(block.path, own, f"no attention ({', '.join(type(part).__name__ for part in parts)})")
    if all(one.is_shared for one in own):
        return LayerFacts(block.path, own, "takes the keys and values of an earlier layer, and its slots with them")
    return LayerFacts(block.path, own)
