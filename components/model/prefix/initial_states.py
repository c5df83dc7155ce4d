"""The states from which the recurrent layers of a hybrid base start a row: their names, and those of a batch.

A prefix has them beside its keys and values. Knows tensors and their names; does not know models.

Shapes: B batch rows, U distinct prefixes. A state has the sizes of its layer's in the cache, without the batch.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.base.shapes import STATE_KINDS, StateKey

InitialStates = Mapping[StateKey, Tensor]
STATE_TENSOR_START = "decoder.state."
_TENSOR_NAME = re.compile(rf"{re.escape(STATE_TENSOR_START)}(0|[1-9]\d{{0,3}})\.({'|'.join(STATE_KINDS)})")


def make_state_name(key: StateKey) -> str:
    """Return the name of a state in a prefix file, such as `decoder.state.3.recurrent`."""
    layer, kind = key
    return f"{STATE_TENSOR_START}{layer}.{kind}"


def name_states(states: InitialStates) -> dict[str, Tensor]:
    """Return the states by their names in a prefix file."""
    return {make_state_name(key): state for key, state in states.items()}


def parse_states(tensors: Mapping[str, Tensor]) -> dict[StateKey, Tensor]:
    """Return the states among these tensors, by layer and kind in order; other tensors are left out."""
    found = ((_TENSOR_NAME.fullmatch(name), tensor) for name, tensor in tensors.items())
    states = {(int(match[1]), match[2]): tensor for match, tensor in found if match}
    return dict(sorted(states.items()))


def stack_states(
    distinct: Sequence[InitialStates], number_B: Sequence[int], device: torch.device | str, dtype: torch.dtype | None
) -> dict[StateKey, Tensor]:
    """Return the states of every row, [B, ...]; row b has those of `distinct[number_B[b]]`, or zeros if that is empty.

    If all rows have the same states, they share memory: do not write to the result. Gradients flow back.

    Raises:
        BaseModelError: a state has other sizes in another prefix.
    """
    index_B = torch.tensor(number_B, dtype=torch.long, device=device)
    stacked: dict[StateKey, Tensor] = {}
    for key in sorted({key for states in distinct for key in states}):
        like = next(states[key] for states in distinct if key in states)
        sizes = {tuple(states[key].shape) for states in distinct if key in states}
        if len(sizes) > 1:
            got = " and ".join(map(str, sorted(sizes)))
            raise BaseModelError(f"{make_state_name(key)} of one base in a batch", got, "batch prefixes by base")
        each_U = [states.get(key, torch.zeros_like(like)).to(device, dtype) for states in distinct]
        if len(set(number_B)) == 1:
            own = each_U[number_B[0]]
            stacked[key] = own.expand(len(number_B), *own.shape)
        else:
            stacked[key] = torch.stack(each_U).index_select(0, index_B)
    return stacked
