"""Whether a row's result depends on where its tokens stand in a batch, and not on their positions alone.

Some models count the columns of a batch or of a cache, though positions are handed to them, and some recurrent layers
read padding. Rows of such models cannot be concatenated, and those of different lengths cannot be decoded together.
Found by watching short forwards. Knows models; does not know prefixes.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from components.model.base.attention_interface import ATTENTION_WITHOUT_MASK, override_attention
from components.model.base.attention_scores import attend_with_mask
from components.model.base.attention_sites import differ_beyond_rounding, find_attention_layers
from components.model.base.token_limits import count_token_rows

_TOKENS, _PADDING, _FAR = 3, 2, 2**20
_counts_by_model: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()
_padding_by_model: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


def counts_columns(model: Any) -> bool:
    """Whether a decoder-only model derives anything from the length of its cache. Probed once per model and cached.

    A model that cannot be asked counts as one that does.
    """
    if model not in _counts_by_model:
        _counts_by_model[model] = _differ_far_from_start(model)
    return _counts_by_model[model]


def ignores_left_padding(model: Any) -> bool:
    """Whether a row of a decoder-only model is the same with padding on its left. Probed once per model and cached."""
    if model not in _padding_by_model:
        _padding_by_model[model] = not counts_columns(model) and not _differ_with_left_padding(model)
    return _padding_by_model[model]


class _FarCache(DynamicCache):  # type: ignore[misc]
    """An empty cache that says that it holds very many tokens."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        del layer_idx
        return _FAR


class _CausalAttention:
    """Computes rows without padding; what is far is seen too, as both forwards that are compared do so."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.AttentionOverride.attend`."""
        del mask
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril()
        return attend_with_mask(module, query, key, value, seen[None, None], **kwargs)


def _make_ids(model: Any) -> Tensor:
    return torch.arange(_TOKENS, device=model.device)[None] % count_token_rows(model)


@torch.no_grad()
def _differ_far_from_start(model: Any) -> bool:
    ids_BT = _make_ids(model)
    inputs = {"input_ids": ids_BT, "position_ids": torch.arange(_TOKENS, device=model.device)[None]}
    layers = find_attention_layers(model)
    try:
        with override_attention(model, layers, _CausalAttention(), ATTENTION_WITHOUT_MASK):
            near, far = (
                model(**inputs, past_key_values=kind(config=model.config), use_cache=True).logits.float()
                for kind in (DynamicCache, _FarCache)
            )
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return True
    return differ_beyond_rounding(far, near, model)


@torch.no_grad()
def _differ_with_left_padding(model: Any) -> bool:
    ids_BT = _make_ids(model)
    padded_BT = torch.nn.functional.pad(ids_BT, (_PADDING, 0))
    mask_BT = torch.nn.functional.pad(torch.ones_like(ids_BT), (_PADDING, 0))
    position_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
    alone = model(input_ids=ids_BT, use_cache=False).logits.float()
    padded = model(input_ids=padded_BT, attention_mask=mask_BT, position_ids=position_BT, use_cache=False).logits
    return differ_beyond_rounding(padded[:, _PADDING:].float(), alone, model)
