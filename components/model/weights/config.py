"""The settings of a method that replaces or adds weights. Does not know models."""

from dataclasses import dataclass
from typing import Literal

from components.errors import ConfigError

WeightsKind = Literal["full", "top-k", "adapter", "lora"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """One method and its sizes. Fields of other methods are ignored.

    Raises:
        ConfigError: a size is not positive, or an adapter has both a size and a share, or neither.
    """

    kind: WeightsKind
    top_layers: int = 2
    """For `top-k`: the number of blocks, counted from the decoder's last one."""
    adapter_size: int | None = None
    """Units of the bottleneck; None: computed from `adapter_share`."""
    adapter_share: float | None = None
    """Size of all adapters together, as a share of the base's parameters; the bottleneck that comes closest is used."""
    lora_rank: int = 8
    lora_alpha: float = 16
    """The update is scaled by alpha / rank."""
    lora_targets: tuple[str, ...] | None = None
    """Names of the layers, as peft matches them. None: peft's defaults for the architecture; without defaults, every
    linear layer of the blocks."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.kind not in ("full", "top-k", "adapter", "lora"):
            raise ConfigError("kind full, top-k, adapter or lora", repr(self.kind), "set one of them")
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
            raise ConfigError("names of layers in lora_targets", "none", "list some, or set it to null")
