"""Methods that replace or add weights of the base: full, top-k, adapter, lora.

`make_trainable_weights` makes trainable weights, their `collapse` returns the weights for an artifact,
`make_weights_from_tensors` reads them from one, and inside `apply` a model computes with them. Works on any model of
transformers, whatever its class. Does not know prefixes, files or optimizers.
"""

from components.model.weights.applied import Weights
from components.model.weights.config import WeightsConfig
from components.model.weights.trainable import TrainableWeights, make_trainable_weights, make_weights_from_tensors

__all__ = ["TrainableWeights", "Weights", "WeightsConfig", "make_trainable_weights", "make_weights_from_tensors"]
