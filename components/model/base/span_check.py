"""Compare a model's own forward with one in which each layer sees what was found for it, on a row beyond its windows.

A config may say what the model does not do, and the short forward that finds the layers does not reach beyond a window.
Knows models; does not know prefixes.

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
)
from components.model.base.output_head import keep_logits_at
from components.model.base.text_config import find_windows
from components.model.base.token_spans import TokenSpan

_PROBE_TOKENS, _MOST_PROBE_TOKENS = 32, 8194


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
    compared_BT = torch.arange(tokens, device=model.device)[None] >= tokens - _PROBE_TOKENS
    found = _FoundAttention(layers, use_own_masks=model.config.is_encoder_decoder)
    name = ATTENTION_WITH_MASK if model.config.is_encoder_decoder else ATTENTION_WITHOUT_MASK
    with keep_logits_at(model, compared_BT):
        own = run_probe(model, inputs).logits.float()
        with override_attention(model, layers, found, name):
            computed = run_probe(model, inputs).logits.float()
    announced = [window for window in found.unexpected if window < context]
    if announced:
        raise make_unsupported_base_error(
            model, f"a layer announces a window of {min(announced)} tokens, and its mask has another"
        )
    if differ_beyond_rounding(computed, own, model):
        spans = ", ".join(sorted({str(layer.span) for layer in layers.values()}))
        got = f"in a row of {tokens} tokens, a token does not attend to exactly the tokens before it ({spans})"
        raise make_unsupported_base_error(model, got)


class _FoundAttention:
    """Computes a decoder-only model's attention by the spans that were found; an encoder-decoder's by its own masks."""

    def __init__(self, layers: dict[nn.Module, AttentionLayer], *, use_own_masks: bool) -> None:
        self.layers, self.use_own_masks, self.unexpected = layers, use_own_masks, list[int]()
        self._masks: dict[tuple[TokenSpan, int], Tensor] = {}

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.AttentionOverride.attend`."""
        span, window = self.layers[module].span, kwargs.get("sliding_window")
        if self.use_own_masks:
            return attend_with_mask(module, query, key, value, mask, **kwargs)
        if isinstance(window, int) and span != TokenSpan("window", window):
            self.unexpected.append(window)
        if (span, key.shape[2]) not in self._masks:
            self._masks[span, key.shape[2]] = _make_mask(span, key.shape[2], key.device)
        mask = self._masks[span, key.shape[2]]
        return attend_with_mask(module, query, key, value, mask, **kwargs)


def _make_mask(span: TokenSpan, tokens: int, device: torch.device) -> Tensor:
    index_T = torch.arange(tokens, device=device)
    return ((index_T <= index_T[:, None]) & span.is_near(index_T[:, None], index_T))[None, None]
