"""Methods that change a base's weights or add some to them, to compare prefixes with: full, top-k, adapter, lora.

`make_trainable_weights` starts one, `collapse` gives what an artifact holds, `make_weights_from_tensors` takes it back,
and inside `applied` the base computes with it. Works on any transformers model, without a line about its name. Does not
know prefixes, files or optimizers.
"""

from components.model.weights.applied import Weights
from components.model.weights.config import WeightsConfig
from components.model.weights.trainable import TrainableWeights, make_trainable_weights, make_weights_from_tensors

__all__ = ["TrainableWeights", "Weights", "WeightsConfig", "make_trainable_weights", "make_weights_from_tensors"]
