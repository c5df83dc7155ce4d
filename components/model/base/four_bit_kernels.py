"""Whether bitsandbytes computes the values that its 4-bit weights hold, on this CPU.

Release 0.50 reads the wrong scales on a CPU with 16-bit products for layers whose number of inputs is a multiple of 16,
but not of the size of a block. On other CPUs the same layers are right.
"""

from typing import Any

import torch
from torch import Tensor

from components.errors import BaseModelError

_ROWS = 64
_TOLERANCE = 1e-2
"""Of the largest value; a wrong scale makes errors of the size of the values."""


def check_four_bit_kernels(model: Any, path: str) -> None:
    """Quantise random weights of each width that a model's 4-bit layers have, and compare the values with the formula.

    value = codebook[4-bit number] x largest absolute value of its block (QLoRA, Dettmers et al. 2023, section 3).
    Layers on a GPU are not checked: its kernels read the scale of each value.

    Raises:
        BaseModelError: the package computes other values.
    """
    states = [state for one in model.parameters() if one.device.type == "cpu" and (state := _find_state(one))]
    for width, block, kind in sorted({(state.shape[-1], state.blocksize, state.quant_type) for state in states}):
        if not _is_exact(width, block, kind):
            got = f"a layer of {path} with {width} inputs, for which bitsandbytes computes wrong values on this CPU"
            fix = f"set base.quantize to bitsandbytes-int8 or null, or use a GPU; multiples of {block} are right"
            raise BaseModelError("4-bit weights that this CPU reads as they are stored", got, fix)


def _find_state(parameter: Any) -> Any:
    state = getattr(parameter, "quant_state", None)
    return state if hasattr(state, "quant_type") else None


def _is_exact(width: int, block: int, kind: str) -> bool:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weight = torch.randn(_ROWS, width, generator=torch.Generator().manual_seed(0))
    packed, state = quantize_4bit(weight, blocksize=block, quant_type=kind, compress_statistics=False)
    exact = _dequantize(packed.flatten(), state.code, state.absmax, block).view(weight.shape)
    error = (dequantize_4bit(packed, state) - exact).abs().max()
    return bool(error <= _TOLERANCE * exact.abs().max())


def _dequantize(packed: Tensor, code: Tensor, largest: Tensor, block: int) -> Tensor:
    numbers = torch.stack((packed >> 4, packed & 0xF), dim=1).flatten().long()
    return code[numbers] * largest.repeat_interleave(block)[: len(numbers)]
