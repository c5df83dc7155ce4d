"""The attention sites of a base, and the shape of a prefix's keys and values at each.

A site is a kind of attention: `decoder.self` in every model, and `encoder.self` and `decoder.cross` in encoder-decoder
models. `decoder.infix` has the shape of `decoder.self`; its slots are between source and target instead of before both.
"""

from dataclasses import dataclass

ENCODER, DECODER, CROSS, INFIX = "encoder.self", "decoder.self", "decoder.cross", "decoder.infix"
SITES = (ENCODER, DECODER, CROSS, INFIX)


@dataclass(frozen=True, slots=True)
class SiteShape:
    """The shape of one site's tensors, without the prefix's length."""

    layers: int
    kv_heads: int
    head_dim: int

    def __str__(self) -> str:
        return f"{self.layers} layers x {self.kv_heads} key/value heads x {self.head_dim}"


@dataclass(frozen=True, slots=True)
class PrefixShape:
    """The shape of a prefix: of the decoder's self-attention, and of the other sites of an encoder-decoder model."""

    layers: int
    kv_heads: int
    head_dim: int
    encoder: SiteShape | None = None
    cross: SiteShape | None = None

    @property
    def sites(self) -> dict[str, SiteShape]:
        """Site -> shape, for every site that a complete prefix has."""
        own = SiteShape(self.layers, self.kv_heads, self.head_dim)
        shapes = {ENCODER: self.encoder, DECODER: own, CROSS: self.cross}
        return {site: shape for site, shape in shapes.items() if shape is not None}

    def __str__(self) -> str:
        sites = self.sites
        if len(sites) == 1:
            return str(sites[DECODER])
        return ", ".join(f"{site} {shape}" for site, shape in sites.items())
