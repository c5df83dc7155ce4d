"""Names and shapes of a prefix's tensors: accepted ones, refused ones, and prefixes of all sites."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.errors import ArtifactError, BaseModelError
from components.model.base.shapes import CROSS, DECODER, ENCODER, INFIX, PrefixShape, SiteShape
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix

SHAPE = PrefixShape(layers=3, kv_heads=2, head_dim=8)
PAIR = PrefixShape(2, 4, 8, encoder=SiteShape(3, 2, 8), cross=SiteShape(2, 4, 16))


def test_names_shapes_and_sizes() -> None:
    prefix = make_random_prefix(SHAPE, 5, seed=1)
    assert list(prefix.tensors)[:3] == ["decoder.self.0.key", "decoder.self.0.value", "decoder.self.1.key"]
    assert (prefix.shape, prefix.length, prefix.parameter_count) == (SHAPE, 5, 3 * 2 * 2 * 5 * 8)
    assert torch.equal(Prefix.from_site(prefix.stack_decoder_site()).stack_decoder_site(), prefix.stack_decoder_site())
    assert prefix.to(torch.bfloat16).tensors["decoder.self.2.value"].dtype == torch.bfloat16
    assert torch.equal(Prefix(dict(reversed(prefix.tensors.items()))).stack_decoder_site(), prefix.stack_decoder_site())


@given(st.text(max_size=30))
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match="wanted"):
        Prefix({name: torch.zeros(2, 3, 4), "decoder.self.0.key": torch.zeros(2, 3, 4)})


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"decoder.self.0.key": torch.zeros(2, 3, 4)},
        {"decoder.self.0.key": torch.zeros(2, 3, 4), "decoder.self.0.value": torch.zeros(2, 4, 4)},
        {"decoder.self.0.key": torch.zeros(2, 3), "decoder.self.0.value": torch.zeros(2, 3)},
        {"decoder.self.1.key": torch.zeros(2, 3, 4), "decoder.self.1.value": torch.zeros(2, 3, 4)},
    ],
    ids=["none", "half", "shapes", "flat", "gap"],
)
def test_incomplete_tensors_are_refused(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ArtifactError):
        Prefix(tensors)


def test_every_site_has_its_own_shape() -> None:
    prefix = make_random_prefix(PAIR, 5, seed=1)
    assert next(iter(prefix.tensors)) == "encoder.self.0.key"
    assert list(prefix.tensors)[6:8] == ["decoder.self.0.key", "decoder.self.0.value"]
    assert list(prefix.tensors)[-1] == "decoder.cross.1.value"
    assert prefix.tensors["encoder.self.2.value"].shape == (2, 5, 8)
    assert prefix.tensors["decoder.self.1.key"].shape == (4, 5, 8)
    assert prefix.tensors["decoder.cross.1.value"].shape == (4, 5, 16)
    assert prefix.shape == PAIR
    assert list(prefix.sites) == [ENCODER, DECODER, CROSS]
    assert prefix.parameter_count == 2 * 5 * (3 * 2 * 8 + 2 * 4 * 8 + 2 * 4 * 16)
    assert (
        Prefix.from_sites({site: prefix.stack_site(site) for site in prefix.sites}).tensors.keys()
        == prefix.tensors.keys()
    )


def test_sites_of_different_lengths_and_infixes_with_prefixes_are_refused() -> None:
    short, long = (make_random_prefix(PAIR, length, seed=1).tensors for length in (4, 5))
    mixed = {name: (short if name.startswith(CROSS) else long)[name] for name in long}
    with pytest.raises(ArtifactError, match=r"decoder\.cross\.0\.key"):
        Prefix(mixed)
    own = make_random_prefix(SHAPE, 4, seed=1)
    infix = Prefix.from_site(own.stack_decoder_site(), INFIX)
    assert infix.is_infix
    assert not own.is_infix
    assert (infix.shape, infix.length) == (SHAPE, 4)
    with pytest.raises(ArtifactError, match="an infix or a prefix"):
        Prefix({**own.tensors, **infix.tensors})


def test_joined_prefixes_are_concatenated() -> None:
    first, second = make_random_prefix(PAIR, 2, seed=1), make_random_prefix(PAIR, 3, seed=2)
    joined = Prefix.join(first, second)
    assert (joined.length, joined.shape) == (5, PAIR)
    for name, tensor in joined.tensors.items():
        assert torch.equal(tensor, torch.cat([first.tensors[name], second.tensors[name]], dim=1))
    with pytest.raises(BaseModelError, match="two prefixes of one base"):
        Prefix.join(first, make_random_prefix(SHAPE, 2, seed=1))


def test_a_base_of_another_shape_is_refused() -> None:
    prefix = make_random_prefix(PAIR, 2, seed=1)
    prefix.check_fits(PAIR)
    for other in (SHAPE, PrefixShape(2, 4, 8), PrefixShape(2, 4, 8, encoder=PAIR.encoder, cross=SiteShape(2, 4, 8))):
        with pytest.raises(BaseModelError, match=r"wanted a prefix of (3 layers|.*2 layers)"):
            prefix.check_fits(other)
