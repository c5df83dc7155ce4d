"""Replace the base's own parameters by trained copies: all of them (`full`), or those of the last blocks (`top-k`).

A parameter that several modules share (tied embeddings) is one value, replaced in all of them. An artifact has the
base's dtype. During training the values are at least float32, and the model computes in its own dtype.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.blocks import find_last_blocks
from components.model.base.quantization import is_quantized
from components.model.weights.applied import MethodWeights, to_parameter
from components.model.weights.config import WeightsConfig

_NAME_START = "weight."


class ReplacedWeights(MethodWeights):
    """New values of the base's parameters, named `weight.<parameter name>`."""

    name_pattern = re.compile(r"weight\.\S+")

    @classmethod
    def make_initial_tensors(cls, model: Any, config: WeightsConfig) -> dict[str, Tensor]:
        """Copy the base's values.

        Raises:
            BaseModelError: the decoder has fewer blocks than `config.top_layers`.
        """
        return {
            _NAME_START + name: parameter.detach().clone()
            for name, parameter in _find_replaceable_parameters(model, config).items()
        }

    def find_expected_shapes(self, model: Any) -> Mapping[str, Sequence[int]]:
        """The shapes of all parameters that the method trains."""
        return {
            _NAME_START + name: value.shape for name, value in _find_replaceable_parameters(model, self.config).items()
        }

    def make_installation(self, model: Any) -> "_ParameterSwap":
        """Make the swap of the parameter objects of the model's modules."""
        return _ParameterSwap(model, {name.removeprefix(_NAME_START): tensor for name, tensor in self.tensors.items()})


class _ParameterSwap:
    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        owners: dict[nn.Parameter, list[tuple[dict[str, Any], str]]] = {}
        for module in model.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    owners.setdefault(parameter, []).append((module._parameters, key))
        named = dict(model.named_parameters())
        self._swaps = [(tensor, named[name], owners[named[name]]) for name, tensor in tensors.items()]

    def install(self) -> None:
        for tensor, original, owners in self._swaps:
            own = to_parameter(tensor, original.device, original.dtype)
            for parameters, key in owners:
                parameters[key] = own

    def refresh(self) -> None:
        """Cast parameters again that have another dtype than the model."""
        self.install()

    def remove(self) -> None:
        for _, original, owners in self._swaps:
            for parameters, key in owners:
                parameters[key] = original


def _find_replaceable_parameters(model: Any, config: WeightsConfig) -> dict[str, nn.Parameter]:
    if is_quantized(model):
        fix = "use another method (prefix, adapter, lora, ...), or set base.quantize to null and use the full model"
        raise BaseModelError(f"a base whose weights can be trained, for {config.kind}", "a quantised base", fix)
    trained = _find_trained_names(model)
    named = {name: parameter for name, parameter in model.named_parameters() if name in trained}
    if config.kind == "full":
        return named
    own = {parameter for block in find_last_blocks(model, config.top_layers) for parameter in block.module.parameters()}
    return {name: parameter for name, parameter in named.items() if parameter in own}


def _find_trained_names(model: Any) -> set[str]:
    """Names of the parameters that a new model of the class trains.

    In the frozen base no parameter is trainable, so its constants (sinusoidal positions) look like weights.
    """
    with torch.device("meta"):
        fresh = type(model)(copy.deepcopy(model.config))
    return {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
