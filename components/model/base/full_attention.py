"""Check that every token of a base attends to all tokens before it, in every layer: by the config, then by a forward.

A sliding window or attention in chunks is refused: a prefix would leave the window. What a config says is read from
the config of the text model, which in a multimodal model is a part of the config. Knows models; does not know prefixes.

Shapes: B batch rows, H heads, T tokens, D head size.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.attention_sites import (
    differ_beyond_rounding,
    make_unsupported_base_error,
    run_probe,
    use_attention_implementation,
)
from components.model.base.output_head import keep_logits_at

_CAUSAL_IMPLEMENTATION = "prefixfleet-causal"
_WINDOW_FIELDS = (
    "sliding_window",
    "sliding_window_size",
    "attention_chunk_size",
    "attention_window",
    "local_attention",
    "local_radius",
    "window_size",
)
_PROBE_TOKENS, _MOST_PROBE_TOKENS = 32, 8192


def find_text_configs(config: Any) -> list[Any]:
    """Return the config of the decoder's text model; for an encoder-decoder model also that of the encoder's."""
    sides = ("decoder", "encoder") if getattr(config, "is_encoder_decoder", False) else ("decoder",)
    parts = [config.get_text_config(**{side: True}) for side in sides]
    # Of an encoder-decoder config without parts, transformers returns a rebuilt copy in which ids are the defaults.
    return [config if type(part) is type(config) else part for part in parts]


def check_config(config: Any, path: str) -> int | None:
    """Check layers and windows of a model's config; return the smallest window in it, in tokens, None if none is set.

    Raises:
        BaseModelError: a layer is not of full attention, a window is shorter than the context, or a decoder is only
            a part of a multimodal model.
    """
    windows = []
    texts = find_text_configs(config)
    for text in texts:
        kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
        context = getattr(text, "max_position_embeddings", None)
        own = _find_windows(text)
        windows += own
        in_use = [] if getattr(text, "use_sliding_window", True) is False else own
        short = [window for window in in_use if context is None or window < context]
        if kinds != {"full_attention"} or short:
            kind = " in ".join(dict.fromkeys([text.model_type, config.model_type]))
            window = min(own) if own else None
            raise _make_error(f"{path} ({kind}): {', '.join(sorted(kinds))}, window {window}")
    if len(texts) == 1 and texts[0] is not config:
        fix = "load it with transformers, save its text model alone, and set base.path to that folder"
        raise BaseModelError("a model of text alone", f"{path} ({texts[0].model_type} in {config.model_type})", fix)
    return min(windows, default=None)


@torch.no_grad()
def check_forward(model: Any, window: int | None, context: int) -> None:
    """Compare a decoder-only model's own forward with one in which every token attends to all tokens before it.

    The row is longer than `window`, the smallest that the config sets, as far as `context` allows.

    Raises:
        BaseModelError: the forwards differ, or a layer announces a window shorter than the context.
    """
    longer = (window or 0) + 2
    tokens = longer if _PROBE_TOKENS < longer <= min(context, _MOST_PROBE_TOKENS) else min(context, _PROBE_TOKENS)
    rows = model.get_input_embeddings().weight.shape[0]
    ids_BT = torch.randint(rows, (1, tokens), generator=torch.Generator().manual_seed(0)).to(model.device)
    inputs = {"input_ids": ids_BT, "use_cache": False}
    compared_BT = torch.arange(tokens, device=model.device)[None] >= tokens - _PROBE_TOKENS
    announced: list[int] = []
    _register_causal_attention(announced)
    with keep_logits_at(model, compared_BT):
        own = run_probe(model, inputs).logits.float()
        with use_attention_implementation(model, _CAUSAL_IMPLEMENTATION):
            causal = run_probe(model, inputs).logits.float()
    short = [window for window in announced if window < context]
    if short:
        raise _make_error(f"{type(model).__name__}: a window of {min(short)} tokens")
    if differ_beyond_rounding(causal, own, model.dtype):
        got = f"in a row of {tokens} tokens, a token does not attend to exactly the tokens before it"
        raise make_unsupported_base_error(model, got)


def _find_windows(config: Any) -> list[int]:
    values = (getattr(config, field, None) for field in _WINDOW_FIELDS)
    return [window for value in values for window in _flatten(value) if isinstance(window, int) and window > 0]


def _flatten(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _make_error(got: str) -> BaseModelError:
    return BaseModelError("a base with full attention in every layer", got, "choose GPT-2, Llama, BART or the like")


def _register_causal_attention(announced: list[int]) -> None:
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Any, **kwargs: Any) -> Any:
        """Query [B, H, T, D], without a mask: transformers passes none to a name without a mask function."""
        announced.extend(window for window in [kwargs.get("sliding_window")] if isinstance(window, int))
        return sdpa_attention_forward(module, query, key, value, None, **{**kwargs, "is_causal": True})

    AttentionInterface.register(_CAUSAL_IMPLEMENTATION, attend)
