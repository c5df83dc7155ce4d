"""The options of a decoding call. Knows the section `evaluate`; does not know models."""

from dataclasses import dataclass

from components.config import EvaluateConfig
from components.errors import ConfigError
from components.model.decoding.controls import DecodingControls


@dataclass(frozen=True)
class Decoding(DecodingControls):
    """Options of a decoding call; one beam is greedy or sampled decoding.

    Raises:
        ConfigError: a value is out of range, or a temperature is combined with beams.

    """

    num_beams: int = 1
    max_new_tokens: int = 96
    length_penalty: float = 1.0
    """The score of a beam is the sum of its log probabilities / length ** length_penalty."""
    guidance: float = 1.0
    """Mixes the logits of the base and of the delta: 0 is the base, 1 the delta, above 1 amplifies the delta."""
    seed: int = 0
    """Decides the samples of a temperature."""

    def __post_init__(self) -> None:
        """Check the values."""
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
        """Return the options of a section `evaluate`."""
        named = {name: getattr(config, name) for name in cls.__dataclass_fields__ if name in type(config).model_fields}
        return cls(**{**named, "banned": tuple(config.banned)})
