"""Bottleneck adapters: a small residual network after every transformer block, of the encoder and of the decoder.

h + up(relu(down(layernorm(h)))), as in Lin, Madotto & Fung 2020 (arXiv 2004.03829, after Houlsby et al. 2019), the
adapter that Li & Liang 2021 compare with. `up` starts at zero, so the model first computes as the base does. Computes
in float32, whatever the base's dtype.

Shapes: W width of the hidden states, N units of the bottleneck.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from components.errors import BaseModelError
from components.model.base.blocks import TransformerBlock, find_all_blocks
from components.model.weights.applied import MethodWeights
from components.model.weights.config import WeightsConfig


class AdapterWeights(MethodWeights):
    """Adapters, named `adapter.<block path>.<part>`."""

    name_pattern = re.compile(r"adapter\.\S+\.(down_weight|down_bias|up_weight|up_bias|norm_weight|norm_bias)")

    @classmethod
    def make_initial_tensors(cls, model: Any, config: WeightsConfig) -> dict[str, Tensor]:
        """Draw normal `down` weights of variance 1 / W from `config.seed` only; all other values are zeros or ones.

        Units are drawn in pairs of opposite sign. A unit that is negative at every token never trains; if all hidden
        states point in a similar direction, a small bottleneck could have only such units.
        """
        blocks = find_all_blocks(model)
        size = choose_bottleneck_size(model, blocks, config)
        generator = torch.Generator().manual_seed(config.seed)
        tensors = {}
        for block in blocks:
            for part, shape in _make_part_shapes(block.width, size).items():
                value = torch.ones(shape) if part == "norm_weight" else torch.zeros(shape)
                if part == "down_weight":
                    value = _draw_opposite_pairs(size, block.width, generator) / block.width**0.5
                tensors[_make_tensor_name(block, part)] = value.to(model.device)
        return tensors

    def find_expected_shapes(self, model: Any) -> Mapping[str, Sequence[int]]:
        """All parts of an adapter for every block, with the size of the first block's adapter."""
        blocks = find_all_blocks(model)
        first = self.tensors.get(_make_tensor_name(blocks[0], "down_bias"))
        size = len(first) if first is not None and first.dim() else 1
        return {
            _make_tensor_name(block, part): shape
            for block in blocks
            for part, shape in _make_part_shapes(block.width, size).items()
        }

    def make_installation(self, model: Any) -> "_AdapterHooks":
        """Make hooks that change every block's output."""
        return _AdapterHooks(
            {
                block.module: {part: self.tensors[_make_tensor_name(block, part)] for part in _make_part_shapes(0, 0)}
                for block in find_all_blocks(model)
            }
        )


def choose_bottleneck_size(model: Any, blocks: Sequence[TransformerBlock], config: WeightsConfig) -> int:
    """Return the units of every bottleneck: `adapter_size`, or the number that comes closest to `adapter_share`."""
    if config.adapter_size is not None:
        return config.adapter_size
    base: int = sum(parameter.numel() for parameter in model.parameters())
    fixed, unit = sum(3 * block.width for block in blocks), sum(2 * block.width + 1 for block in blocks)
    share = config.adapter_share or 0.0
    return max(1, round((share * base - fixed) / unit))


class _AdapterHooks:
    def __init__(self, adapters: Mapping[nn.Module, Mapping[str, Tensor]]) -> None:
        self._adapters = adapters
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        for module, parts in self._adapters.items():
            self._handles.append(module.register_forward_hook(_make_hook(parts)))

    def refresh(self) -> None:
        """Do nothing: the hooks use the parameters themselves."""

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _make_hook(parts: Mapping[str, Tensor]) -> Any:
    def adapt(hidden: Tensor) -> Tensor:
        own = {part: tensor.to(hidden.device) for part, tensor in parts.items()}
        x = hidden.to(own["norm_weight"].dtype)
        x = nn.functional.layer_norm(x, x.shape[-1:], own["norm_weight"], own["norm_bias"])
        x = nn.functional.linear(x, own["down_weight"], own["down_bias"]).relu()
        return hidden + nn.functional.linear(x, own["up_weight"], own["up_bias"]).to(hidden.dtype)

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        return change_hidden_states(output, adapt)

    return hook


def change_hidden_states(output: Any, change: Any) -> Any:
    """Apply `change` to the hidden states in a block's output: a tensor, or the first value of a tuple or mapping.

    Raises:
        BaseModelError: the block returns something else.
    """
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return (change(output[0]), *output[1:])
    if isinstance(output, Mapping) and output:
        changed: Any = copy.copy(output)
        first = next(iter(output))
        changed[first] = change(output[first])
        return changed
    raise BaseModelError("blocks that return hidden states first", type(output).__name__, "use another base")


def _make_part_shapes(width: int, size: int) -> dict[str, tuple[int, ...]]:
    """The parts of one adapter: norm [W], down [N, W], up [W, N]."""
    return {
        "norm_weight": (width,),
        "norm_bias": (width,),
        "down_weight": (size, width),
        "down_bias": (size,),
        "up_weight": (width, size),
        "up_bias": (width,),
    }


def _draw_opposite_pairs(size: int, width: int, generator: torch.Generator) -> Tensor:
    half = torch.randn((size + 1) // 2, width, generator=generator)
    return torch.cat([half, -half])[:size]


def _make_tensor_name(block: TransformerBlock, part: str) -> str:
    return f"adapter.{block.path}.{part}"
