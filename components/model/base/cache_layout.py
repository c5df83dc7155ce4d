"""What a decoder-only model keeps for each row that it decodes, found by filling a cache with a few tokens.

Knows transformers' caches as objects that hold tensors; does not know the names of models or caches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from components.model.base.attention_sites import run_probe

_TOKENS = 3
_layouts_by_model: "WeakKeyDictionary[nn.Module, tuple[CachedLayer, ...]]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class CachedLayer:
    """What a row keeps in one layer."""

    token_size: int = 0
    """Values for each token: its keys and values, or what they are computed from."""
    heads: int = 0
    """Heads that the values of a token are divided into; latents have one."""
    window: int | None = None
    """Most tokens that are kept; None: all."""
    state_size: int = 0
    """Values that do not depend on the number of tokens: recurrent states."""

    def count_values(self, tokens: int) -> int:
        """Return the values of a row of so many tokens."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return kept * self.token_size + self.state_size


@torch.no_grad()
def find_cached_layers(model: Any) -> tuple[CachedLayer, ...]:
    """Return what a decoder-only model keeps in each layer of its cache, in order. Cached per model.

    Raises:
        BaseModelError: the forward fails.
    """
    if model not in _layouts_by_model:
        ids_BT = torch.zeros(1, _TOKENS, dtype=torch.long, device=model.device)
        cache = getattr(run_probe(model, {"input_ids": ids_BT, "use_cache": True}), "past_key_values", None)
        _layouts_by_model[model] = tuple(_measure_layer(layer) for layer in getattr(cache, "layers", ()))
    return _layouts_by_model[model]


def _measure_layer(layer: Any) -> CachedLayer:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    kept = [one for one in (keys, values) if isinstance(one, Tensor) and one.dim() == 4]
    others = [
        tensor
        for name, value in vars(layer).items()
        if name not in ("keys", "values")
        for tensor in _list_tensors(value)
    ]
    return CachedLayer(
        token_size=sum(one.numel() for one in kept) // _TOKENS,
        heads=kept[0].shape[1] if kept else 0,
        window=getattr(layer, "sliding_window", None) if kept else None,
        state_size=sum(tensor.numel() for tensor in others if tensor.dim()),
    )


def _list_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _list_tensors(inner)
