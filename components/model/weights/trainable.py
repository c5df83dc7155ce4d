"""The trainable form of weights: parameters that start as the base computes, and their way to and from an artifact.

Knows the four methods by their classes. Does not know how they are put on a model, nor optimizers or files.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from components.model.weights.adapter import AdapterWeights
from components.model.weights.applied import MethodWeights, Weights, check_tensor_shapes
from components.model.weights.config import WeightsConfig, WeightsKind
from components.model.weights.lora import LoraWeights
from components.model.weights.replaced import ReplacedWeights

_METHODS: dict[WeightsKind, type[MethodWeights]] = {
    "full": ReplacedWeights,
    "top-k": ReplacedWeights,
    "adapter": AdapterWeights,
    "lora": LoraWeights,
}


class TrainableWeights(nn.Module):
    """Parameters of one method, on the device of the model that they were made for."""

    def __init__(self, tensors: Mapping[str, Tensor], config: WeightsConfig) -> None:
        """Train from `tensors`, which become this module's own, in float32 at least.

        A step of 16 bits would be lost wherever it is smaller than 1/256 of a value.
        """
        super().__init__()
        self.config = config
        self._dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self.values = nn.ParameterList(
            nn.Parameter(tensor.to(torch.promote_types(tensor.dtype, torch.float32))) for tensor in tensors.values()
        )
        self._live_weights = _METHODS[config.kind](dict(zip(tensors, self.values, strict=True)), config)

    def get_weights(self) -> Weights:
        """The parameters as a model computes with them, the same object at every call; gradients flow back."""
        return self._live_weights

    def collapse(self) -> Weights:
        """Detached copies on the CPU: float32 for what is added, the base's dtype for what replaces its own."""
        return self._live_weights.collapse(self._dtypes)

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        """Go on from given values.

        Raises:
            BaseModelError: their names or shapes are others.
        """
        check_tensor_shapes(
            weights.tensors, {name: tensor.shape for name, tensor in self._live_weights.tensors.items()}
        )
        for name, tensor in self._live_weights.tensors.items():
            tensor.copy_(weights.tensors[name])


def make_trainable_weights(model: Any, config: WeightsConfig) -> TrainableWeights:
    """Weights for `model` that let it compute exactly as it does, until they are trained; `model` is not changed.

    Everything random comes from `config.seed`; torch's global generator is as before.
    torch may multiply by a parameter that requires a gradient in another order (1e-7 apart, seen with LED and T5);
    collapsed weights are bit-identical to the base at the start everywhere.

    Raises:
        BaseModelError: the model has fewer layers than asked for, none of the layers named, or no list of blocks.
    """
    return TrainableWeights(_METHODS[config.kind].make_initial_tensors(model, config), config)


def make_weights_from_tensors(tensors: Mapping[str, Tensor], config: WeightsConfig) -> Weights:
    """Weights of an artifact. Whether they fit a model shows when they are applied to it.

    Raises:
        ArtifactError: a name is not one that the method gives, or there are no tensors.
    """
    return _METHODS[config.kind](tensors, config)
