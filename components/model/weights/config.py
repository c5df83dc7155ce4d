"""What a method that changes or adds weights is told. Does not know models."""

from dataclasses import dataclass
from typing import Literal

from components.errors import ConfigError

WeightsKind = Literal["full", "top-k", "adapter", "lora"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """One method and its sizes; the fields of other methods are not read.

    Raises:
        ConfigError: a size is not positive, or an adapter is given both a size and a share, or neither.
    """

    kind: WeightsKind
    top_layers: int = 2
    """Blocks counted from the last one of the decoder, for `top-k`."""
    adapter_size: int | None = None
    """Units of the bottleneck."""
    adapter_share: float | None = None
    """Share of the base's parameters that all adapters together come closest to; gives the bottleneck's size."""
    lora_rank: int = 8
    lora_alpha: float = 16
    """The update is scaled by alpha / rank."""
    lora_targets: tuple[str, ...] | None = None
    """Names of the layers as peft matches them; None takes peft's own for the architecture, else every linear layer of
    the blocks."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no model can take."""
        if self.kind not in ("full", "top-k", "adapter", "lora"):
            raise ConfigError("kind full, top-k, adapter or lora", repr(self.kind), "choose one of them")
        used: dict[str, dict[str, float | None]] = {
            "top-k": {"top_layers": self.top_layers},
            "adapter": {"adapter_size": self.adapter_size, "adapter_share": self.adapter_share},
            "lora": {"lora_rank": self.lora_rank, "lora_alpha": self.lora_alpha},
        }
        for name, value in used.get(self.kind, {}).items():
            if value is not None and not value > 0:
                raise ConfigError(f"{name} above 0", str(value), f"set {name} to a positive number")
        if self.kind == "adapter" and (self.adapter_size is None) == (self.adapter_share is None):
            got = "neither" if self.adapter_size is None else "both"
            raise ConfigError("adapter_size or adapter_share", got, "set one of the two")
        if self.lora_targets is not None and not self.lora_targets:
            raise ConfigError("names of layers in lora_targets", "none", "name some, or leave it out")
