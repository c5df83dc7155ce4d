"""The attention sites of a base, and the shape of a prefix's keys and values at each.

A site is a kind of attention: `decoder.self` in every model, and `encoder.self` and `decoder.cross` in encoder-decoder
models. `decoder.infix` has the shape of `decoder.self`; its slots are between source and target instead of before both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ENCODER, DECODER, CROSS, INFIX = "encoder.self", "decoder.self", "decoder.cross", "decoder.infix"
SITES = (ENCODER, DECODER, CROSS, INFIX)
RECURRENT, CONVOLUTION = "recurrent", "convolution"
STATE_KINDS = (RECURRENT, CONVOLUTION)
"""The kinds of states that a recurrent layer keeps between two forwards."""
StateKey = tuple[int, str]
"""The layer and the kind of a recurrent layer's state."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The shape of one layer's keys and values, without the prefix's length."""

    kv_heads: int
    key_dim: int
    value_dim: int

    @property
    def size(self) -> int:
        """Values of one slot, keys and values together."""
        return self.kv_heads * (self.key_dim + self.value_dim)

    def __str__(self) -> str:
        return f"{self.kv_heads} x {self.key_dim}" + ("" if self.value_dim == self.key_dim else f"/{self.value_dim}")


@dataclass(frozen=True, slots=True)
class SiteShape:
    """The shape of one site's tensors, without the prefix's length."""

    layers: int
    kv_heads: int
    """Of the first layer."""
    head_dim: int
    """Of the first layer's keys."""
    uneven: tuple[LayerShape, ...] = ()
    """The shape of every layer, unless all have `kv_heads` key/value heads of `head_dim`, for keys and for values."""

    @classmethod
    def from_layers(cls, shapes: Sequence[LayerShape]) -> "SiteShape":
        """Return the shape of a site with these layers, at least one."""
        first = shapes[0]
        is_even = set(shapes) == {LayerShape(first.kv_heads, first.key_dim, first.key_dim)}
        return cls(len(shapes), first.kv_heads, first.key_dim, () if is_even else tuple(shapes))

    @property
    def each(self) -> tuple[LayerShape, ...]:
        """The shape of every layer."""
        return self.uneven or (LayerShape(self.kv_heads, self.head_dim, self.head_dim),) * self.layers

    @property
    def size(self) -> int:
        """Values of one slot in all layers."""
        return sum(one.size for one in self.each)

    def __str__(self) -> str:
        if self.uneven:
            return f"{self.layers} layers of key/value heads x head size {', '.join(map(str, self.uneven))}"
        return f"{self.layers} layers x {self.kv_heads} key/value heads x {self.head_dim}"


@dataclass(frozen=True, slots=True)
class PrefixShape:
    """The shape of a prefix: of the decoder's self-attention, and of the other sites of an encoder-decoder model."""

    layers: int
    kv_heads: int
    head_dim: int
    encoder: SiteShape | None = None
    cross: SiteShape | None = None
    uneven: tuple[LayerShape, ...] = ()
    """See `SiteShape.uneven`."""

    @property
    def is_even(self) -> bool:
        """Whether the layers of each site have one shape, for keys and for values."""
        return not any(site.uneven for site in self.sites.values())

    @property
    def sites(self) -> dict[str, SiteShape]:
        """Site -> shape, for every site that a complete prefix has."""
        own = SiteShape(self.layers, self.kv_heads, self.head_dim, self.uneven)
        shapes = {ENCODER: self.encoder, DECODER: own, CROSS: self.cross}
        return {site: shape for site, shape in shapes.items() if shape is not None}

    def __str__(self) -> str:
        sites = self.sites
        if len(sites) == 1:
            return str(sites[DECODER])
        return ", ".join(f"{site} {shape}" for site, shape in sites.items())
