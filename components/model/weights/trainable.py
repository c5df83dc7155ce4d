"""The trainable form of weights: their parameters, and the conversion to and from an artifact's tensors.

Knows the classes of the four methods. Does not know how they are installed on a model, nor optimizers or files.
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
    """The parameters of one method, on the device of the model that they were made for."""

    def __init__(self, tensors: Mapping[str, Tensor], config: WeightsConfig) -> None:
        """Start from `tensors`, cast to float32 at least; this module owns them from now on.

        In 16 bits, a step smaller than 1/256 of a value would be lost.
        """
        super().__init__()
        self.config = config
        self._dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self.values = nn.ParameterList(
            nn.Parameter(tensor.to(torch.promote_types(tensor.dtype, torch.float32))) for tensor in tensors.values()
        )
        self._live_weights = _METHODS[config.kind](dict(zip(tensors, self.values, strict=True)), config)

    def get_weights(self) -> Weights:
        """Return the parameters as weights to apply to a model, the same object at every call; gradients flow back."""
        return self._live_weights

    def collapse(self) -> Weights:
        """Return detached copies on the CPU: float32 for added weights, the base's dtype for replaced ones."""
        return self._live_weights.collapse(self._dtypes)

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        """Set the parameters to the values of `weights`.

        Raises:
            BaseModelError: names or shapes differ.
        """
        check_tensor_shapes(
            weights.tensors, {name: tensor.shape for name, tensor in self._live_weights.tensors.items()}
        )
        for name, tensor in self._live_weights.tensors.items():
            tensor.copy_(weights.tensors[name])


def make_trainable_weights(model: Any, config: WeightsConfig) -> TrainableWeights:
    """Make weights for `model` that do not change its output until they are trained; `model` is not changed.

    Random values come from `config.seed` only; torch's global generator is not used. Before training, collapsed weights
    give bit-identical outputs. Trainable ones may differ by 1e-7 (seen with LED and T5), because torch may multiply by
    a parameter that requires a gradient in another order.

    Raises:
        BaseModelError: the model has fewer layers than `config` asks for, none of the named layers, or no list of
            blocks.
    """
    return TrainableWeights(_METHODS[config.kind].make_initial_tensors(model, config), config)


def make_weights_from_tensors(tensors: Mapping[str, Tensor], config: WeightsConfig) -> Weights:
    """Make weights from an artifact's tensors. Whether they fit a model is checked by `check_fits` and `apply`.

    Raises:
        ArtifactError: a name is not used by the method, or there are no tensors.
    """
    return _METHODS[config.kind](tensors, config)
