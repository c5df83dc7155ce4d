"""Find every attention module of a model, with its site and layer, by recording one tiny forward.

Works for any model that calls transformers' attention interface in every layer, whatever its class. Any other model
raises an error that names its class. Does not know the values of prefixes.

Shapes: B batch rows, H key/value heads, S keys, D head size.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.blocks import find_all_blocks, find_decoder_blocks
from components.model.base.checkpointing import disable_checkpointing
from components.model.base.shapes import CROSS, DECODER, ENCODER, PrefixShape, SiteShape

_TRACE_IMPLEMENTATION = "prefixfleet-trace"
_SOURCE_TOKENS, _TARGET_TOKENS = 3, 2
_MAX_LOGIT_NOISE = 0.05
"""Most difference allowed between two attention kernels, as a share of the logits' standard deviation."""
_layers_by_model: "WeakKeyDictionary[nn.Module, dict[nn.Module, AttentionLayer]]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """The site of one attention module, its layer number within the site, and the sizes of its keys and values."""

    site: str
    layer: int
    kv_heads: int
    head_dim: int


def find_attention_layers(model: Any) -> dict[nn.Module, AttentionLayer]:
    """Return every attention module of `model`, in the order of computation. Cached per model.

    Raises:
        BaseModelError: the model does not call the attention interface in every layer; it calls one module twice; its
            attention uses more than keys, values and a mask; its keys and values differ in size; or (decoder-only) it
            takes no positions, or its own do not count from 0. The message names the model's class.
    """
    if model not in _layers_by_model:
        _layers_by_model[model] = _trace_attention_layers(model)
    return _layers_by_model[model]


def find_prefix_shape(model: Any) -> PrefixShape:
    """Return the shape that a prefix for `model` must have.

    Raises:
        BaseModelError: as `find_attention_layers`; or the layers of one site differ in size.
    """
    shapes: dict[str, SiteShape] = {}
    for name in (ENCODER, DECODER, CROSS):
        own = [site for site in find_attention_layers(model).values() if site.site == name]
        sizes = {(site.kv_heads, site.head_dim) for site in own}
        if len(sizes) > 1:
            raise make_unsupported_base_error(model, f"keys and values of {sorted(sizes)} in {name}")
        if own:
            shapes[name] = SiteShape(len(own), own[0].kv_heads, own[0].head_dim)
    decoder = shapes[DECODER]
    return PrefixShape(decoder.layers, decoder.kv_heads, decoder.head_dim, shapes.get(ENCODER), shapes.get(CROSS))


def make_unsupported_base_error(model: Any, got: str) -> BaseModelError:
    """Make the error for a model that prefixes cannot be attached to; `got` is the reason."""
    wanted = "a base that takes transformers' attention interface in every layer"
    return BaseModelError(wanted, f"{type(model).__name__}: {got}", "choose another base, such as GPT-2, Llama or BART")


@contextmanager
def use_attention_implementation(model: Any, name: str) -> Iterator[None]:
    """In the `with` block, every attention module of `model` calls the attention function registered as `name`.

    Raises:
        BaseModelError: the model does not let its attention be replaced.
    """
    before = model.config._attn_implementation
    parts = [part for part in model.modules() if hasattr(part, "_can_set_attn_implementation")]
    if not all(part._can_set_attn_implementation() for part in parts):
        raise make_unsupported_base_error(model, "its attention cannot be replaced")
    model.set_attn_implementation(name)
    try:
        if {part.config._attn_implementation for part in parts} != {name}:
            raise make_unsupported_base_error(model, "its attention cannot be replaced")
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def record_attention_calls(model: Any) -> Iterator[list[tuple[nn.Module, Tensor, Tensor]]]:
    """In the `with` block, record the attention calls of `model` in order: module, keys and values [B, H, S, D].

    Raises:
        BaseModelError: the model does not let its attention be replaced.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def watch(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        calls.append((module, key, value))
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register(_TRACE_IMPLEMENTATION, watch)
    AttentionMaskInterface.register(_TRACE_IMPLEMENTATION, sdpa_mask)
    training = model.training
    model.eval()
    try:
        with use_attention_implementation(model, _TRACE_IMPLEMENTATION), disable_checkpointing():
            yield calls
    finally:
        model.train(training)


@torch.no_grad()
def _trace_attention_layers(model: Any) -> dict[nn.Module, AttentionLayer]:
    pairs, before = model.config.is_encoder_decoder, model.config._attn_implementation
    encoder = set(model.get_encoder().modules()) if pairs else set()
    ids = torch.zeros(1, _SOURCE_TOKENS, dtype=torch.long, device=model.device)
    inputs = {"input_ids": ids, "use_cache": False}
    if pairs:
        inputs["decoder_input_ids"] = ids[:, :_TARGET_TOKENS]
    with record_attention_calls(model) as calls:
        recorded = run_probe(model, inputs).logits.float()
        with use_attention_implementation(model, before):
            output = run_probe(model, {**inputs, "use_cache": True})
    own = output.logits.float()
    if own.isnan().any() or own.isposinf().any():
        got = f"NaN or infinity in the logits of {type(model).__name__} in {str(model.dtype).removeprefix('torch.')}"
        fix = "download or save the model again, or set base.dtype to float32 if it overflows in 16 bits"
        raise BaseModelError("a base with finite outputs", got, fix)
    if differ_beyond_rounding(recorded, own, model.dtype):
        raise make_unsupported_base_error(
            model, f"its attention ({before}) computes something else than transformers' sdpa function"
        )
    layers: dict[nn.Module, AttentionLayer] = {}
    counts: dict[str, int] = {}
    for module, key, value in calls:
        crosses = pairs and module not in encoder and key.shape[2] == _SOURCE_TOKENS
        name = ENCODER if module in encoder else CROSS if crosses else DECODER
        if module in layers:
            raise make_unsupported_base_error(model, "several layers share one attention module")
        if key.shape[1::2] != value.shape[1::2]:
            raise make_unsupported_base_error(
                model, f"keys of {tuple(key.shape[1::2])} and values of {tuple(value.shape[1::2])}"
            )
        layers[module] = AttentionLayer(name, counts.get(name, 0), key.shape[1], key.shape[3])
        counts[name] = counts.get(name, 0) + 1
    _check_complete(model, counts)
    if not pairs:
        _check_cache(model, layers, output.past_key_values)
        _check_positions(model, inputs, own)
    return layers


def differ_beyond_rounding(logits: Tensor, own: Tensor, dtype: torch.dtype) -> bool:
    """Return whether two forwards in `dtype` differ by more than the rounding of different kernels."""
    noise = min(torch.finfo(dtype).eps ** 0.5, _MAX_LOGIT_NOISE)
    return not bool((logits - own).square().mean().sqrt() <= noise * own.std())


def run_probe(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Run one tiny forward. Any exception of it becomes a BaseModelError."""
    try:
        return model(**inputs)
    except BaseModelError:
        raise
    except Exception as problem:
        message = (str(problem).splitlines() or ["no message"])[0]
        raise make_unsupported_base_error(
            model, f"a forward fails with {type(problem).__name__} ({message:.200})"
        ) from problem


def _check_positions(model: Any, inputs: Mapping[str, Any], own: Tensor) -> None:
    """Check that the model takes positions and counts its own from 0: tokens after a prefix get explicit positions."""
    if "position_ids" not in inspect.signature(model.get_decoder().forward).parameters:
        raise make_unsupported_base_error(model, "it takes no positions (no argument position_ids)")
    positions = torch.arange(_SOURCE_TOKENS, device=model.device)[None]
    with_positions = run_probe(model, {**inputs, "position_ids": positions}).logits.float()
    if differ_beyond_rounding(with_positions, own, model.dtype):
        raise make_unsupported_base_error(model, "its own positions are not 0, 1, 2, ...")


def _check_complete(model: Any, counts: dict[str, int]) -> None:
    decoder = len(find_decoder_blocks(model))
    wanted = {DECODER: decoder}
    if model.config.is_encoder_decoder:
        wanted |= {ENCODER: len(find_all_blocks(model)) - decoder, CROSS: decoder}
    for site, count in wanted.items():
        if counts.get(site, 0) != count:
            raise make_unsupported_base_error(
                model, f"{counts.get(site, 0)} of {count} layers call the attention interface ({site})"
            )


def _check_cache(model: Any, layers: Mapping[nn.Module, AttentionLayer], cache: Any) -> None:
    """Check that the cache stores keys in the shape that attention gets, because decoding puts prefixes into it."""
    wanted = [(site.kv_heads, site.head_dim) for site in layers.values()]
    kept = [getattr(layer, "keys", None) for layer in getattr(cache, "layers", ())]
    got = [(keys.shape[1], keys.shape[3]) for keys in kept if keys is not None and keys.dim() == 4]
    if got != wanted:
        raise make_unsupported_base_error(model, f"a cache of {got} (heads, head size) while attention gets {wanted}")
