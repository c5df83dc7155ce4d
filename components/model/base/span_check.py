"""Compare a model's own attention with one in which each layer sees what was found for it, on a row beyond its windows.

A config may say what the model does not do, and the short forward that finds the layers does not reach beyond a window.
A decoder-only model with a registered attention function runs once: each layer's output of the last tokens is computed
in both ways, from the same keys and values. Of other models the logits of two forwards are compared. Knows models;
does not know prefixes.

Shapes: B batch rows, H heads, T tokens, D head size.
"""

from typing import Any

import torch
from torch import Tensor, nn

from components.model.base.attention_interface import (
    ATTENTION_WITH_MASK,
    ATTENTION_WITHOUT_MASK,
    override_attention,
)
from components.model.base.attention_scores import attend_with_mask
from components.model.base.attention_sites import (
    AttentionLayer,
    differ_beyond_rounding,
    find_attention_layers,
    make_unsupported_base_error,
    run_probe,
    use_attention_implementation,
)
from components.model.base.output_head import keep_logits_at
from components.model.base.text_config import find_windows
from components.model.base.token_spans import TokenSpan

_PROBE_TOKENS, _MOST_PROBE_TOKENS = 32, 8194
_COMPARING = "prefixfleet-span-check"


@torch.no_grad()
def check_spans(model: Any, context: int) -> None:
    """Check the spans of `find_attention_layers` on a row longer than every window and chunk, of the config or found.

    The row is no longer than `context`, and no longer than 8,194 tokens.

    Raises:
        BaseModelError: the forwards differ, or a layer announces another window than it was found to have.
    """
    layers = find_attention_layers(model)
    sizes = [*find_windows(model.config), *(layer.span.size for layer in layers.values())]
    reachable = [size + 2 for size in sizes if size + 2 <= min(context, _MOST_PROBE_TOKENS)]
    tokens = max([min(context, _PROBE_TOKENS), *reachable])
    rows = model.get_input_embeddings().weight.shape[0]
    ids_BT = torch.randint(rows, (1, tokens), generator=torch.Generator().manual_seed(0)).to(model.device)
    inputs = {"input_ids": ids_BT, "use_cache": False}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids_BT
    check = _compare_logits if _find_own_attention(model) is None else _compare_layers
    differs, announced = check(model, layers, inputs)
    nearer = [window for window in announced if window < context]
    if nearer:
        raise make_unsupported_base_error(
            model, f"a layer announces a window of {min(nearer)} tokens, and its mask has another"
        )
    if differs:
        spans = ", ".join(sorted({str(layer.span) for layer in layers.values()}))
        got = f"in a row of {tokens} tokens, a token does not attend to exactly the tokens before it ({spans})"
        raise make_unsupported_base_error(model, got)


def _find_own_attention(model: Any) -> Any:
    """Return the attention function that a decoder-only model calls, if it is registered with its masks; else None."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = model.config._attn_implementation
    is_registered = name in ALL_ATTENTION_FUNCTIONS and name in ALL_MASK_ATTENTION_FUNCTIONS
    return ALL_ATTENTION_FUNCTIONS[name] if is_registered and not model.config.is_encoder_decoder else None


def _compare_layers(
    model: Any, layers: dict[nn.Module, AttentionLayer], inputs: dict[str, Any]
) -> tuple[bool, list[int]]:
    """Return whether a layer's own output differs, and the windows that layers announce and were not found to have."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    attend, found = _find_own_attention(model), _FoundAttention(layers, use_own_masks=False)
    tokens, differing = inputs["input_ids"].shape[1], list[nn.Module]()

    def compare(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
    ) -> Any:
        output_BTHD, weights = attend(module, query, key, value, attention_mask, **kwargs)
        last = query[:, :, -_PROBE_TOKENS:]
        computed_BTHD = found.attend(module, last, key, value, None, **kwargs)
        own_BTHD = output_BTHD[:, -_PROBE_TOKENS:]
        if key.shape[2] != tokens or differ_beyond_rounding(computed_BTHD.float(), own_BTHD.float(), model):
            differing.append(module)
        return output_BTHD, weights

    AttentionInterface.register(_COMPARING, compare)
    AttentionMaskInterface.register(_COMPARING, ALL_MASK_ATTENTION_FUNCTIONS[model.config._attn_implementation])
    with use_attention_implementation(model, _COMPARING), keep_logits_at(model, _find_last(inputs["input_ids"])):
        logits = run_probe(model, inputs).logits
    return bool(differing) or not bool(logits.isfinite().all()), found.unexpected


def _compare_logits(
    model: Any, layers: dict[nn.Module, AttentionLayer], inputs: dict[str, Any]
) -> tuple[bool, list[int]]:
    """Return the same by two forwards, in the second of which all layers see what was found for them."""
    found = _FoundAttention(layers, use_own_masks=model.config.is_encoder_decoder)
    name = ATTENTION_WITH_MASK if model.config.is_encoder_decoder else ATTENTION_WITHOUT_MASK
    with keep_logits_at(model, _find_last(inputs["input_ids"])):
        own = run_probe(model, inputs).logits.float()
        with override_attention(model, layers, found, name):
            computed = run_probe(model, inputs).logits.float()
    return differ_beyond_rounding(computed, own, model), found.unexpected


def _find_last(ids_BT: Tensor) -> Tensor:
    """Return the mask of the tokens that are compared."""
    return torch.arange(ids_BT.shape[1], device=ids_BT.device)[None] >= ids_BT.shape[1] - _PROBE_TOKENS


class _FoundAttention:
    """Computes a decoder-only model's attention by the spans that were found; an encoder-decoder's by its own masks."""

    def __init__(self, layers: dict[nn.Module, AttentionLayer], *, use_own_masks: bool) -> None:
        self.layers, self.use_own_masks, self.unexpected = layers, use_own_masks, list[int]()
        self._masks: dict[tuple[TokenSpan, int, int, torch.device], Tensor] = {}

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.AttentionOverride.attend`."""
        span, window = self.layers[module].span, kwargs.get("sliding_window")
        if self.use_own_masks:
            return attend_with_mask(module, query, key, value, mask, **kwargs)
        if isinstance(window, int) and span != TokenSpan("window", window):
            self.unexpected.append(window)
        place = span, query.shape[2], key.shape[2], key.device
        if place not in self._masks:
            self._masks[place] = _make_mask(*place)
        return attend_with_mask(module, query, key, value, self._masks[place], **kwargs)


def _make_mask(span: TokenSpan, queries: int, keys: int, device: torch.device) -> Tensor:
    """Return what the last `queries` of `keys` tokens see, [1, 1, queries, keys]."""
    key_S = torch.arange(keys, device=device)
    query_T1 = key_S[keys - queries :, None]
    return ((key_S <= query_T1) & span.is_near(query_T1, key_S))[None, None]
