"""What a row keeps is what transformers' cache holds after any number of tokens."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import DECODERS, HYBRIDS, RECENT

from components.model.base.cache_layout import find_cached_layers


def count_cached_values(model: Any, tokens: int) -> int:
    cache = model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=True).past_key_values
    total = 0
    for layer in cache.layers:
        parts = [layer.keys, layer.values] if getattr(layer, "keys", None) is not None else []
        for states in ("conv_states", "recurrent_states"):
            parts += [one for one in getattr(layer, states, {}).values() if one is not None]
        total += sum(part.numel() for part in parts)
    return total


@pytest.mark.parametrize("kind", [*DECODERS, *RECENT])
def test_the_values_of_a_row_are_those_of_its_cache(kind: str, build_model: Callable[..., Any]) -> None:
    model = build_model(kind)
    layers = find_cached_layers(model)
    assert find_cached_layers(model) is layers
    assert any(one.state_size for one in layers) == (kind in HYBRIDS)
    for tokens in (2, 3, 17):
        counted = sum(one.count_values(tokens) for one in layers)
        # A window of transformers' cache drops a token when the next one comes.
        slack = sum(one.token_size for one in layers if one.window is not None)
        assert 0 <= counted - count_cached_values(model, tokens) <= slack
