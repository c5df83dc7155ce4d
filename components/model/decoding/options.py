"""What decoding can be asked for. Knows the evaluate section; does not know models."""

from dataclasses import dataclass

from components.config import EvaluateConfig
from components.errors import ConfigError
from components.model.decoding.controls import DecodingControls


@dataclass(frozen=True)
class Decoding(DecodingControls):
    """How to decode: greedily with one beam; a score is the sum of log probabilities / length ** length_penalty.

    `guidance` mixes the base's logits with the prefixed ones: 0 is the base, 1 the prefix, above 1 more than it;
    `seed` decides what a temperature draws.

    Raises:
        ConfigError: a value is impossible, or a temperature is given beside beams.

    """

    num_beams: int = 1
    max_new_tokens: int = 96
    length_penalty: float = 1.0
    guidance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        super().__post_init__()
        for name, least in (("num_beams", 1), ("max_new_tokens", 1), ("guidance", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} of at least {least}", str(getattr(self, name)), f"change {name}")
        if self.min_new_tokens > self.max_new_tokens:
            got = f"{self.min_new_tokens} and {self.max_new_tokens}"
            raise ConfigError("min_new_tokens of at most max_new_tokens", got, "change one of the two")
        if self.temperature and self.num_beams > 1:
            got = f"temperature {self.temperature} and num_beams {self.num_beams}"
            raise ConfigError("beams or sampling", got, "set num_beams to 1, or temperature to 0")

    @classmethod
    def from_config(cls, config: EvaluateConfig) -> "Decoding":
        """What an evaluate section asks for."""
        named = {name: getattr(config, name) for name in cls.__dataclass_fields__ if name in type(config).model_fields}
        return cls(**{**named, "banned": tuple(config.banned)})
