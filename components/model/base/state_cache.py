"""Hand initial states to a model's recurrent layers through transformers' cache.

A recurrent layer takes its state from the cache and puts the next one there, so a cache with states is the way to start
from a given state. Knows transformers' cache; does not know prefixes, models or where the states come from.

Shapes: B batch rows, C channels of a convolution, K its columns, T tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from components.model.base.shapes import CONVOLUTION, RECURRENT, StateKey

_MIN_TOKENS = 2
LayerStates = Mapping[StateKey, Tensor]
"""The states of every batch row."""


class StartingCache(DynamicCache):  # type: ignore[misc]
    """The cache of one forward that starts from given states and keeps nothing; gradients flow back to the states.

    The forward must read at least two tokens: layers change the states in place when they read one.
    """

    def __init__(self, config: Any, states: LayerStates) -> None:
        """`states` must have every state of every recurrent layer of a model with this `config`."""
        super().__init__(config=config)
        self._states = states

    def get_conv_state(self, layer_idx: int, *_: Any, **__: Any) -> Tensor | None:
        """Return the state before the first token."""
        return self._states.get((layer_idx, CONVOLUTION))

    def get_recurrent_state(self, layer_idx: int, *_: Any, **__: Any) -> Tensor | None:
        """Return the state before the first token."""
        return self._states.get((layer_idx, RECURRENT))

    def update_conv_state(self, conv_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Tensor:
        """Return the state before the first token and the tokens' columns, [B, C, K + T]."""
        state_BCK = self._states[layer_idx, CONVOLUTION]
        return torch.cat([state_BCK.to(conv_states.dtype), conv_states], dim=-1)

    def update_recurrent_state(self, recurrent_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the state as it is."""
        return recurrent_states

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the tokens' keys and values as they are."""
        return key_states, value_states


def start_forward(config: Any, states: LayerStates, tokens: int, inputs: Mapping[str, Any]) -> StartingCache:
    """Return the cache for a forward over `tokens` tokens that starts from these states; `inputs` are its arguments.

    Raises:
        ValueError: it has a cache already, padding on the left, or fewer than two tokens.
    """
    mask_BT = inputs.get("attention_mask")
    if inputs.get("past_key_values") is not None:
        raise ValueError("wanted a forward without a cache, or states put into it; got a cache and initial states")
    if tokens < _MIN_TOKENS or (mask_BT is not None and not bool(mask_BT[:, 0].all())):
        raise ValueError(f"wanted rows of {_MIN_TOKENS} tokens or more without padding on the left, with states")
    return StartingCache(config, states)


def put_states(cache: Any, states: LayerStates) -> None:
    """Put states into an empty cache: the next forward continues from them."""
    for (layer, kind), state in states.items():
        if kind == CONVOLUTION:
            cache.update_conv_state(state, layer, conv_kernel_size=state.shape[-1])
        else:
            cache.update_recurrent_state(state, layer)


def overwrite_states(cache: Any, states: LayerStates, row_R: Tensor) -> None:
    """Replace the states of these rows in a cache that has states already; `states` has those of every row."""
    for (layer, kind), state in states.items():
        own = (cache.get_conv_state if kind == CONVOLUTION else cache.get_recurrent_state)(layer)
        index_R = row_R.to(own.device)
        own[index_R] = state[index_R].to(own.dtype)
