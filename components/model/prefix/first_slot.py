"""What slot 0 of a prefix holds: trained values, or what a base attends to first in every text (BOS).

With `train.first_slot: bos` slot 0 has the base's keys and values of BOS at position 0 and is not trained. Knows which
methods and bases have such a slot; does not know how the other slots are trained.
"""

import torch

from components.config import TrainConfig
from components.errors import ConfigError
from components.model.base.load import Base
from components.model.prefix.initialization import make_token_prefix
from components.model.prefix.prefix import Prefix

_METHODS = ("prefix", "embedding", "prefix+adapter", "prefix+lora")
"""Methods whose slots are the first that a base attends to."""
_CLOSE = 0.01
"""Largest difference from BOS, as a share of the value and of the layer's largest: that of a copy in 16 bits."""


def find_bos_slot_id(base: Base, config: TrainConfig) -> int | None:
    """Return the token of slot 0; None if `train.first_slot` is free.

    Raises:
        ConfigError: the method has no slots before the text, or none at all is set; or the base has no BOS, or begins
            its texts with a token of its own at position 0 (encoder-decoder).
    """
    if config.first_slot == "free":
        return None
    fix = "set train.first_slot: free"
    if config.method not in _METHODS:
        wanted = f"a method whose slots come before the text, for train.first_slot: bos ({', '.join(_METHODS)})"
        raise ConfigError(wanted, config.method, fix)
    if not config.prefix_length:
        fix = f"{fix}, or train.prefix_length to 2 or more"
        raise ConfigError("a slot for BOS, for train.first_slot: bos", "train.prefix_length 0", fix)
    if base.is_encoder_decoder:
        got = f"{type(base.model).__name__}, whose encoder and decoder begin with their own tokens at position 0"
        raise ConfigError("a decoder-only base for train.first_slot: bos", got, fix)
    if base.bos_id is None:
        raise ConfigError("a tokenizer with BOS for train.first_slot: bos", f"none in that of {base.name}", fix)
    return base.bos_id


def has_bos_slot(base: Base, prefix: Prefix, bos_id: int) -> bool:
    """Return whether slot 0 of a prefix of the base's shape has the base's keys and values of BOS, up to rounding."""
    wanted = make_token_prefix(base, [bos_id]).tensors
    first = prefix.keep_slots(1).tensors
    return prefix.length > 0 and all(
        torch.allclose(first[name].float(), tensor, rtol=_CLOSE, atol=_CLOSE * float(tensor.abs().max()))
        for name, tensor in wanted.items()
    )
