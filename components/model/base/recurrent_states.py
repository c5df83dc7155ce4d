"""Find the states that a model's recurrent layers keep, and whether rows can start from other ones than zero.

Found by watching short forwards, not by the model's class: which states are in its cache, whether a forward over
several tokens continues from states in the cache, and whether gradients reach these. Does not know prefixes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from components.errors import BaseModelError
from components.model.base.attention_sites import differ_beyond_rounding
from components.model.base.checkpointing import disable_checkpointing
from components.model.base.shapes import CONVOLUTION, RECURRENT, StateKey
from components.model.base.state_cache import LayerStates, StartingCache, put_states
from components.model.base.token_limits import count_token_rows

_TOKENS, _FIRST_PART = 5, 3
_CACHE_FIELDS = {RECURRENT: "recurrent_states", CONVOLUTION: "conv_states"}
"""Kind of a state -> the field of a cache's layer that holds states of it by their numbers."""
_found_by_model: "WeakKeyDictionary[nn.Module, dict[StateKey, StateShape] | str]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class StateShape:
    """The shape of one state of one batch row, and its type and device in the cache."""

    sizes: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def size(self) -> int:
        """Values of the state."""
        return math.prod(self.sizes)


def find_state_shapes(model: Any) -> Mapping[StateKey, StateShape]:
    """Return every state of every recurrent layer of `model`; a row can start from any values. Cached per model.

    Raises:
        BaseModelError: the model has no such layers, or does not continue from given states; the message has its class.
    """
    if model not in _found_by_model:
        with disable_checkpointing(), torch.inference_mode(mode=False):
            _found_by_model[model] = _watch_states(model)
    found = _found_by_model[model]
    if isinstance(found, str):
        fix = "set train.initial_state: false, or choose another base (docs/bases.md names those that take a state)"
        raise BaseModelError(
            "a base whose rows can start from a trained state", f"{type(model).__name__}: {found}", fix
        )
    return found


def check_states(model: Any, states: Mapping[StateKey, tuple[int, ...]]) -> None:
    """Check that these are the states of `model`, by the sizes of one row's.

    Raises:
        BaseModelError: they are not, or as `find_state_shapes`.
    """
    wanted = {key: shape.sizes for key, shape in find_state_shapes(model).items()}
    for key in sorted(wanted.keys() | states.keys()):
        if wanted.get(key) != states.get(key):
            texts = [_describe_state(key, side.get(key)) for side in (wanted, states)]
            raise BaseModelError(
                f"initial states for {type(model).__name__}: {texts[0]}", texts[1], "use the base it was trained on"
            )


def fit_states(model: Any, states: LayerStates) -> dict[StateKey, Tensor]:
    """Return the batch's states in the cache's types and on its devices. Raises BaseModelError as `check_states`."""
    check_states(model, {key: tuple(state.shape[1:]) for key, state in states.items()})
    return {key: states[key].to(shape.device, shape.dtype) for key, shape in find_state_shapes(model).items()}


def _describe_state(key: StateKey, sizes: tuple[int, ...] | None) -> str:
    layer, kind = key
    return f"{'no' if sizes is None else 'a'} {kind} state in layer {layer}{f' of {sizes}' if sizes else ''}"


def _watch_states(model: Any) -> dict[StateKey, StateShape] | str:
    """Return the states, or why a row cannot start from others."""
    if model.config.is_encoder_decoder:
        return "an encoder-decoder model"
    ids_BT = torch.arange(_TOKENS, device=model.device)[None] % count_token_rows(model)
    try:
        with torch.no_grad():
            kept = dict(_list_states(model(input_ids=ids_BT, use_cache=True).past_key_values))
        if not kept:
            return "no layer keeps a recurrent state in its cache"
        states = {key: _draw_like(state, seed).requires_grad_() for seed, (key, state) in enumerate(kept.items())}
        whole, gradients = _compute_whole(model, ids_BT, states)
        parts = _compute_parts(model, ids_BT, states)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError) as problem:
        return f"a forward from given states fails with {type(problem).__name__} ({str(problem).partition(chr(10))[0]})"
    for layer, kind in states:
        gradient = gradients[layer, kind]
        if gradient is None or not gradient.any():
            return f"layer {layer} ignores a given {kind} state where it reads several tokens"
    if differ_beyond_rounding(parts, whole, model):
        return "it computes something else where it continues from its own states"
    return {key: StateShape(tuple(state.shape[1:]), state.dtype, state.device) for key, state in kept.items()}


def _list_states(cache: Any) -> Iterator[tuple[StateKey, Tensor]]:
    for number, layer in enumerate(getattr(cache, "layers", ())):
        for kind, field in _CACHE_FIELDS.items():
            states = {index: state for index, state in (getattr(layer, field, None) or {}).items() if state is not None}
            if set(states) - {0}:
                raise ValueError(f"{len(states)} {kind} states in layer {number}")
            if states:
                yield (number, kind), states[0]


def _draw_like(state: Tensor, seed: int) -> Tensor:
    """Draw values with the standard deviation of `state`, or 1 if it is 0."""
    drawn = torch.randn(state.shape, generator=torch.Generator().manual_seed(seed)).to(state.device)
    return (drawn * (float(state.float().std()) or 1.0)).to(state.dtype)


def _compute_whole(model: Any, ids_BT: Tensor, states: LayerStates) -> tuple[Tensor, dict[StateKey, Tensor | None]]:
    """Return the logits of one forward from these states, and the gradients that reach the states."""
    with torch.enable_grad():
        logits = model(input_ids=ids_BT, past_key_values=StartingCache(model.config, states), use_cache=False).logits
        gradients = torch.autograd.grad(logits.float().square().sum(), list(states.values()), allow_unused=True)
    return logits.detach().float(), dict(zip(states, gradients, strict=True))


@torch.no_grad()
def _compute_parts(model: Any, ids_BT: Tensor, states: LayerStates) -> Tensor:
    """Return the logits of two forwards from these states, of which the second continues from the first one's cache."""
    cache = DynamicCache(config=model.config)
    put_states(cache, states)
    parts = (ids_BT[:, :_FIRST_PART], ids_BT[:, _FIRST_PART:])
    logits = [model(input_ids=part, past_key_values=cache, use_cache=True).logits for part in parts]
    return torch.cat(logits, dim=1).float()
