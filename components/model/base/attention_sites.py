"""Find every attention module of a model, with its site, layer and span, by recording one tiny forward.

Works for any model that calls transformers' attention interface in every layer, whatever its class. Any other model
raises an error that names its class. Does not know the values of prefixes.

Shapes: B batch rows, H key/value heads, S keys, D head size.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.attention_scores import ScoreRule, attend_with_mask
from components.model.base.blocks import find_all_blocks, find_decoder_blocks
from components.model.base.checkpointing import disable_checkpointing
from components.model.base.quantization import is_quantized
from components.model.base.shapes import CROSS, DECODER, ENCODER, LayerShape, PrefixShape, SiteShape
from components.model.base.tensor_parallel import scale_heads
from components.model.base.token_spans import ALL_TOKENS, TokenSpan, find_span

_TRACE_IMPLEMENTATION = "prefixfleet-trace"
_SOURCE_TOKENS, _TARGET_TOKENS = 3, 2
_KNOWN_TENSORS = ("s_aux", "position_bias", "position_ids")
"""Tensors among the keyword arguments of attention calls that change nothing, or that `attend_with_mask` takes."""
_MAX_LOGIT_NOISE = 0.05
"""Most difference allowed between two attention kernels, as a share of the logits' standard deviation."""
_has_cache_of_keys: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()
_layers_by_model: "WeakKeyDictionary[nn.Module, dict[nn.Module, AttentionLayer]]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """The site of one attention module, its layer number within the site, and what is particular to it."""

    site: str
    layer: int
    shape: LayerShape
    span: TokenSpan = ALL_TOKENS
    """What its tokens see; of an encoder's layers and of cross-attention it is not known."""
    is_capped: bool = False
    """Whether its scores have a soft cap."""
    has_sinks: bool = False
    """Whether learned sinks take a share of its softmax."""
    is_shared: bool = False
    """Whether it takes its keys and values from an earlier module, whose layer number it then has."""

    @property
    def has_plain_scores(self) -> bool:
        """Whether its weights are the softmax of scaled products, without a soft cap or sinks."""
        return not self.is_capped and not self.has_sinks


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One recorded call of the attention interface."""

    module: nn.Module
    key: Tensor
    """[B, H, S, D]."""
    value: Tensor
    """[B, H, S, D]."""
    mask: Tensor | None
    arguments: Mapping[str, Any]
    """The other keyword arguments."""
    head_dim: int
    find_span: Callable[[], TokenSpan | None]
    """Returns what the call's tokens see; None if it is no known span, or if the mask is not transformers' own."""


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


def has_plain_attention(model: Any) -> bool:
    """Whether every token sees all tokens before it in every layer, by the softmax of scaled products.

    Raises:
        BaseModelError: as `find_attention_layers`.
    """
    layers = find_attention_layers(model).values()
    return all(layer.span == ALL_TOKENS and layer.has_plain_scores for layer in layers)


def has_cache_of_keys(model: Any) -> bool:
    """Whether a decoder-only model's cache holds, layer by layer, keys in the shape that attention gets.

    Raises:
        BaseModelError: as `find_attention_layers`.
    """
    find_attention_layers(model)
    return _has_cache_of_keys[model]


def find_prefix_shape(model: Any) -> PrefixShape:
    """Return the shape that a prefix for `model` must have.

    Raises:
        BaseModelError: as `find_attention_layers`.
    """
    shapes: dict[str, SiteShape] = {}
    for name in (ENCODER, DECODER, CROSS):
        layers = find_attention_layers(model).values()
        own = [layer.shape for layer in layers if layer.site == name and not layer.is_shared]
        if own:
            shapes[name] = SiteShape.from_layers(own)
    decoder, encoder, cross = shapes[DECODER], shapes.get(ENCODER), shapes.get(CROSS)
    return PrefixShape(decoder.layers, decoder.kv_heads, decoder.head_dim, encoder, cross, decoder.uneven)


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
def record_attention_calls(model: Any) -> Iterator[list[AttentionCall]]:
    """In the `with` block, record the attention calls of `model` in order.

    Raises:
        BaseModelError: the model does not let its attention be replaced.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    calls: list[AttentionCall] = []
    masks: dict[int, tuple[Tensor, Any]] = {}
    """The masks of the forwards by their addresses, and the functions that made them."""

    whole = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    if model in _layers_by_model and has_plain_attention(model):
        whole = {}

    def make_mask(*args: Any, **kwargs: Any) -> Any:
        mask = sdpa_mask(*args, **{**kwargs, **whole})
        if mask is not None:
            masks[mask.data_ptr()] = mask, kwargs.get("mask_function", causal_mask_function)
        return mask

    def watch(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any) -> Any:
        mask = attention_mask

        def find_own_span() -> TokenSpan | None:
            if mask is not None and mask.data_ptr() in masks:
                return find_span(masks[mask.data_ptr()][1], mask.device)
            for known, function in masks.values() if mask is not None else ():
                # accelerate has copied the mask to the layer's device
                if known.device != mask.device and torch.equal(known.to(mask.device), mask):
                    return find_span(function, mask.device)
            return ALL_TOKENS if mask is None or _is_causal(mask) else None

        calls.append(AttentionCall(module, key, value, mask, kwargs, query.shape[3], find_own_span))
        return attend_with_mask(module, query, key, value, mask, **kwargs), None

    AttentionInterface.register(_TRACE_IMPLEMENTATION, watch)
    AttentionMaskInterface.register(_TRACE_IMPLEMENTATION, make_mask)
    training = model.training
    model.eval()
    try:
        with use_attention_implementation(model, _TRACE_IMPLEMENTATION), disable_checkpointing():
            yield calls
    finally:
        model.train(training)


@torch.no_grad()
def _trace_attention_layers(model: Any) -> dict[nn.Module, AttentionLayer]:
    from transformers import DynamicCache

    pairs, before = model.config.is_encoder_decoder, model.config._attn_implementation
    encoder = set(model.get_encoder().modules()) if pairs else set()
    ids = torch.zeros(1, _SOURCE_TOKENS, dtype=torch.long, device=model.device)
    inputs = {"input_ids": ids, "use_cache": False}
    if pairs:
        inputs["decoder_input_ids"] = ids[:, :_TARGET_TOKENS]
    with record_attention_calls(model) as calls:
        recorded = run_probe(model, inputs).logits.float()
        with use_attention_implementation(model, before):
            cache = {} if pairs else {"past_key_values": DynamicCache(config=model.config)}
            output = run_probe(model, {**inputs, **cache, "use_cache": True})
    own = output.logits.float()
    if own.isnan().any() or own.isposinf().any():
        got = f"NaN or infinity in the logits of {type(model).__name__} in {str(model.dtype).removeprefix('torch.')}"
        fix = "download or save the model again, or set base.dtype to float32 if it overflows in 16 bits"
        raise BaseModelError("a base with finite outputs", got, fix)
    if differ_beyond_rounding(recorded, own, model):
        raise make_unsupported_base_error(
            model, f"its attention ({before}) computes something else than attention with keys, values and a mask"
        )
    layers: dict[nn.Module, AttentionLayer] = {}
    owners: dict[tuple[int, int], nn.Module] = {}
    counts: dict[str, int] = {}
    for call in calls:
        module, key, value = call.module, call.key, call.value
        crosses = pairs and module not in encoder and key.shape[2] == _SOURCE_TOKENS
        name = ENCODER if module in encoder else CROSS if crosses else DECODER
        if module in layers:
            raise make_unsupported_base_error(model, "several layers share one attention module")
        shape = LayerShape(scale_heads(model, key.shape[1]), key.shape[3], value.shape[3])
        span = _find_call_span(model, call) if name == DECODER else ALL_TOKENS
        rule = ScoreRule.from_call(call.head_dim, call.arguments)
        scores = {"is_capped": rule.softcap is not None, "has_sinks": rule.sink_X is not None}
        source = owners.setdefault((key.data_ptr(), value.data_ptr()), module)
        if source is not module:
            layers[module] = AttentionLayer(name, layers[source].layer, shape, span, is_shared=True, **scores)
            continue
        layers[module] = AttentionLayer(name, counts.get(name, 0), shape, span, **scores)
        counts[name] = counts.get(name, 0) + 1
    kept = None if pairs else getattr(output, "past_key_values", None)
    _check_complete(model, layers, kept)
    if not pairs:
        _has_cache_of_keys[model] = _holds_keys(model, layers, kept)
        _check_positions(model, inputs, own)
    return layers


def _is_causal(mask: Tensor) -> bool:
    seen = mask if mask.dtype == torch.bool else mask == 0
    return torch.equal(seen, torch.ones_like(seen).tril(seen.shape[3] - seen.shape[2]))


def _find_call_span(model: Any, call: AttentionCall) -> TokenSpan:
    unknown = [
        name for name, value in call.arguments.items() if isinstance(value, Tensor) and name not in _KNOWN_TENSORS
    ]
    if unknown:
        raise make_unsupported_base_error(model, f"attention that takes {', '.join(unknown)} beside keys and values")
    span = call.find_span()
    if span is None:
        raise make_unsupported_base_error(
            model, "a token does not attend to exactly the tokens before it, those in a window, or those in its chunk"
        )
    return span


def differ_beyond_rounding(logits: Tensor, own: Tensor, model: Any) -> bool:
    """Return whether two forwards of `model` differ by more than the rounding of different kernels."""
    return not bool((logits - own).square().mean().sqrt() <= find_rounding_noise(model) * own.std())


def find_rounding_noise(model: Any) -> float:
    """Return the rounding of different kernels, as a share of the logits' standard deviation.

    Some quantised layers also round their inputs to 8 bits, so that a small difference becomes a larger one.
    """
    return _MAX_LOGIT_NOISE if is_quantized(model) else min(torch.finfo(model.dtype).eps ** 0.5, _MAX_LOGIT_NOISE)


def run_probe(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Run one tiny forward. Any exception of it becomes a BaseModelError."""
    try:
        return model(**inputs)
    except BaseModelError:
        raise
    except Exception as problem:
        message = (str(problem).splitlines() or ["no message"])[0]
        got = f"{type(model).__name__}: a forward fails with {type(problem).__name__} ({message:.200})"
        fix = "compare its config.json with the published one, or choose another base, such as GPT-2, Llama or BART"
        wanted = "a base that reads a few tokens with the usual cache of transformers"
        raise BaseModelError(wanted, got, fix) from problem


def _check_positions(model: Any, inputs: Mapping[str, Any], own: Tensor) -> None:
    """Check that the model takes positions and counts its own from 0: tokens after a prefix get explicit positions."""
    if "position_ids" not in inspect.signature(model.get_decoder().forward).parameters:
        raise make_unsupported_base_error(model, "it takes no positions (no argument position_ids)")
    positions = torch.arange(_SOURCE_TOKENS, device=model.device)[None]
    with_positions = run_probe(model, {**inputs, "position_ids": positions}).logits.float()
    if differ_beyond_rounding(with_positions, own, model):
        raise make_unsupported_base_error(model, "its own positions are not 0, 1, 2, ...")


def _check_complete(model: Any, layers: Mapping[nn.Module, AttentionLayer], cache: Any) -> None:
    """Check that every block calls the interface; of a decoder-only model, every block whose cache holds keys.

    Other blocks of a decoder-only model, such as recurrent ones, have no slots.
    """
    decoder = len(find_decoder_blocks(model))
    wanted, counts = {DECODER: decoder}, Counter(layer.site for layer in layers.values())
    if model.config.is_encoder_decoder:
        wanted |= {ENCODER: len(find_all_blocks(model)) - decoder, CROSS: decoder}
    elif counts[DECODER] < decoder:
        shared = sum(layer.is_shared for layer in layers.values())
        wanted[DECODER] = max(1, shared + sum(keys is not None for keys in _list_cached_keys(cache)))
    for site, count in wanted.items():
        if counts[site] != count:
            raise make_unsupported_base_error(
                model, f"{counts[site]} of {count} layers call the attention interface ({site})"
            )


def _list_cached_keys(cache: Any) -> list[Tensor | None]:
    return [getattr(layer, "keys", None) for layer in getattr(cache, "layers", ())]


def _holds_keys(model: Any, layers: Mapping[nn.Module, AttentionLayer], cache: Any) -> bool:
    wanted = [(one.shape.kv_heads, one.shape.key_dim) for one in layers.values() if not one.is_shared]
    kept = _list_cached_keys(cache)[: len(wanted)]
    return wanted == [
        (scale_heads(model, keys.shape[1]), keys.shape[3]) for keys in kept if keys is not None and keys.dim() == 4
    ]
