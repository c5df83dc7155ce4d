"""A prefix: trained keys and values of every attention layer, by their names in a prefix file.

It may also hold the states from which recurrent layers start a row. Knows tensors and their names. Does not know
models, tokenisers, files or how a prefix is trained.

Shapes: L layers of a site, 2 for key and value, H key/value heads, P prefix slots, D head size.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.errors import ArtifactError, BaseModelError
from components.model.base.shapes import CROSS, DECODER, ENCODER, INFIX, SITES, LayerShape, PrefixShape, SiteShape
from components.model.prefix.initial_states import (
    STATE_TENSOR_START,
    InitialStates,
    make_state_name,
    name_states,
    parse_states,
)

KINDS = ("key", "value")
_TENSOR_NAME = re.compile(r"(encoder\.self|decoder\.self|decoder\.cross|decoder\.infix)\.(0|[1-9]\d{0,3})\.(key|value)")


def make_tensor_name(layer: int, kind: str, site: str = DECODER) -> str:
    """Return the name of one tensor in a prefix file, such as `decoder.self.3.key`."""
    return f"{site}.{layer}.{kind}"


class Prefix:
    """Keys and values of every layer of every site, each [H, P, D]; all sites have the same length.

    H and D may differ between layers, and D between keys and values. `states` are the states from which a row's
    recurrent layers start; without any they start at zero.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Check names and shapes, and order the tensors by site and layer; states come last.

        Raises:
            ArtifactError: a name is missing or unknown, or tensors are not [H, P, D] with one P, and one H in a layer;
                or an infix has states.
        """
        layers: dict[str, int] = {}
        self.states = parse_states(tensors)
        state_tensors = name_states(self.states)
        for name in tensors:
            if name in state_tensors:
                continue
            match = _TENSOR_NAME.fullmatch(name)
            if match is None:
                raise ArtifactError("tensors named decoder.self.<layer>.key|value", repr(name), "export it again")
            layers[match[1]] = max(layers.get(match[1], 0), int(match[2]) + 1)
        self.sites: dict[str, SiteShape] = {}
        self.tensors: dict[str, Tensor] = {}
        self.length = -1
        for site in (site for site in SITES if site in layers):
            names = [make_tensor_name(layer, kind, site) for layer in range(layers[site]) for kind in KINDS]
            missing = [name for name in names if name not in tensors]
            if missing:
                raise _make_incomplete_error(f"no {missing[0]}")
            first = tensors[names[0]]
            if self.length < 0 and first.dim() == 3:
                self.length = first.shape[1]
            shapes = []
            for key_name, value_name in zip(names[::2], names[1::2], strict=True):
                key, value = tensors[key_name], tensors[value_name]
                if key.dim() != 3 or key.shape[:2] != value.shape[:2] or key.shape[1] != self.length:
                    wanted = f"keys and values of [heads, {max(self.length, 0)} slots, head size]"
                    got = f"{key_name} {tuple(key.shape)}, {value_name} {tuple(value.shape)}"
                    raise ArtifactError(wanted, got, "export the prefix again")
                shapes.append(LayerShape(key.shape[0], key.shape[2], value.shape[-1]))
            self.sites[site] = SiteShape.from_layers(shapes)
            self.tensors |= {name: tensors[name] for name in names}
        if not self.sites:
            raise _make_incomplete_error("none")
        if self.is_infix and len(self.sites) > 1:
            raise ArtifactError("an infix or a prefix", f"{' and '.join(self.sites)}", "export it again")
        if self.is_infix and self.states:
            raise ArtifactError("an infix", f"one with {next(iter(state_tensors))}", "export it again")
        self.tensors |= state_tensors

    @classmethod
    def from_site(cls, values_L2HPD: Tensor, site: str = DECODER) -> "Prefix":
        """Split one site's tensor [L, 2, H, P, D] into named tensors; gradients flow back into it."""
        return cls.from_sites({site: values_L2HPD})

    @classmethod
    def from_sites(cls, values: Mapping[str, Tensor]) -> "Prefix":
        """Split each site's tensor [L, 2, H, P, D] into named tensors; gradients flow back into them."""
        return cls(
            {
                make_tensor_name(layer, kind, site): tensor_HPD
                for site, values_L2HPD in values.items()
                for layer, values_2HPD in enumerate(values_L2HPD.unbind(0))
                for kind, tensor_HPD in zip(KINDS, values_2HPD.unbind(0), strict=True)
            }
        )

    @classmethod
    def from_layers(
        cls, layers: Mapping[str, Sequence[tuple[Tensor, Tensor]]], states: InitialStates | None = None
    ) -> "Prefix":
        """Make a prefix of each site's keys and values, each [H, P, D], layer by layer, and of initial states."""
        named = {
            make_tensor_name(layer, kind, site): tensor_HPD
            for site, pairs in layers.items()
            for layer, pair in enumerate(pairs)
            for kind, tensor_HPD in zip(KINDS, pair, strict=True)
        }
        return cls(named | name_states(states or {}))

    @classmethod
    def join(cls, first: "Prefix", second: "Prefix") -> "Prefix":
        """Concatenate the slots of both, `first` in front; the states are those of `second`.

        Raises:
            BaseModelError: the two have different shapes, or `first` has states.
        """
        if first.states:
            got = f"one with {make_state_name(next(iter(first.states)))}"
            raise BaseModelError("a first prefix without initial states", got, "share a prefix without them")
        if first.sites != second.sites:
            got = f"one of {first.shape_text} and one of {second.shape_text}"
            raise BaseModelError("two prefixes of one base", got, "train both on the same base")
        joined = {name: torch.cat([first.tensors[name], second.tensors[name]], dim=1) for name in first.tensors}
        return cls(joined | name_states(second.states))

    def drop_slots(self, count: int) -> "Prefix":
        """Return the prefix without its first `count` slots."""
        slots = {name: tensor[:, count:] for name, tensor in self.slot_tensors.items()}
        return Prefix(slots | name_states(self.states))

    def keep_slots(self, count: int) -> "Prefix":
        """Return the first `count` slots, without states."""
        return Prefix({name: tensor_HPD[:, :count] for name, tensor_HPD in self.slot_tensors.items()})

    @property
    def slot_tensors(self) -> dict[str, Tensor]:
        """The keys and values, without states."""
        return {name: tensor for name, tensor in self.tensors.items() if not name.startswith(STATE_TENSOR_START)}

    @property
    def is_infix(self) -> bool:
        """Whether the slots are between source and target."""
        return INFIX in self.sites

    @property
    def shape(self) -> PrefixShape:
        """The shape of the base that the prefix is for."""
        own = self.sites.get(DECODER) or self.sites.get(INFIX)
        if own is None:
            raise _make_incomplete_error("no decoder.self.0.key")
        encoder, cross = self.sites.get(ENCODER), self.sites.get(CROSS)
        return PrefixShape(own.layers, own.kv_heads, own.head_dim, encoder, cross, own.uneven)

    @property
    def shape_text(self) -> str:
        """Every site with its shape, as text for messages."""
        return ", ".join(f"{site} {shape}" for site, shape in self.sites.items())

    def stack_site(self, site: str) -> Tensor:
        """Return all values of one site as one tensor [L, 2, H, P, D].

        Raises:
            BaseModelError: the layers differ in shape.
        """
        shape = self.sites[site]
        if shape.uneven:
            raise BaseModelError("layers of one shape", str(shape), "use a base whose layers have one shape")
        names = [make_tensor_name(layer, kind, site) for layer in range(shape.layers) for kind in KINDS]
        flat = torch.stack([self.tensors[name] for name in names])
        return flat.view(shape.layers, 2, shape.kv_heads, self.length, shape.head_dim)

    def stack_decoder_site(self) -> Tensor:
        """Return all values of the decoder's self-attention (or of the infix) as one tensor [L, 2, H, P, D]."""
        return self.stack_site(INFIX if self.is_infix else DECODER)

    def to_infix(self) -> "Prefix":
        """Return the decoder's keys and values as an infix."""
        start = f"{DECODER}."
        own = {name: tensor for name, tensor in self.tensors.items() if name.startswith(start)}
        return Prefix({f"{INFIX}.{name.removeprefix(start)}": tensor for name, tensor in own.items()})

    def get_layer(self, index: int, site: str = DECODER) -> tuple[Tensor, Tensor]:
        """Return key and value of one layer, each [H, P, D]."""
        return self.tensors[make_tensor_name(index, "key", site)], self.tensors[make_tensor_name(index, "value", site)]

    @property
    def parameter_count(self) -> int:
        """The number of values in all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "Prefix":
        """Return the prefix in another dtype or on another device."""
        return Prefix({name: tensor.to(device=device, dtype=dtype) for name, tensor in self.tensors.items()})

    def check_fits(self, shape: PrefixShape) -> None:
        """Check that the prefix fits a base of `shape`.

        Raises:
            BaseModelError: sites, layers, heads or head size differ; also for an infix and an encoder-decoder base.
        """
        if self.shape != shape:
            tensor = self._find_misfit(shape)
            got = f"one of {self.shape}{f', in which {tensor} is the first to differ' if tensor else ''}"
            raise BaseModelError(f"a prefix of {shape}", got, "use the base it was trained on")

    def _find_misfit(self, shape: PrefixShape) -> str:
        """Return the first tensor whose heads or head size differ from `shape`'s, or ""."""
        for site, wanted in shape.sites.items():
            for layer, one in enumerate(wanted.each):
                for kind, size in zip(KINDS, (one.key_dim, one.value_dim), strict=True):
                    name = make_tensor_name(layer, kind, site)
                    tensor_HPD = self.tensors.get(name)
                    if tensor_HPD is not None and (tensor_HPD.shape[0], tensor_HPD.shape[-1]) != (one.kv_heads, size):
                        return name
        return ""


def _make_incomplete_error(got: str) -> ArtifactError:
    return ArtifactError("a key and a value tensor for every layer", got, "export the prefix again")
