"""Prefix files' names and shapes, the trainable module, and where a prefix starts."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError, ConfigError
from components.model.attach import attached
from components.model.base import Base
from components.model.initialization import initial_prefix, random_prefix, text_prefix
from components.model.prefix import Prefix, PrefixShape
from components.model.prefix_module import PrefixModule

SHAPE = PrefixShape(layers=3, kv_heads=2, head_dim=8)


def test_names_shapes_and_sizes() -> None:
    prefix = random_prefix(SHAPE, 5, seed=1)
    assert list(prefix.tensors)[:3] == ["decoder.self.0.key", "decoder.self.0.value", "decoder.self.1.key"]
    assert (prefix.shape, prefix.length, prefix.parameters) == (SHAPE, 5, 3 * 2 * 2 * 5 * 8)
    assert torch.equal(Prefix.from_stacked(prefix.stacked()).stacked(), prefix.stacked())
    assert prefix.to(torch.bfloat16).tensors["decoder.self.2.value"].dtype == torch.bfloat16
    assert torch.equal(Prefix(dict(reversed(prefix.tensors.items()))).stacked(), prefix.stacked())


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


@pytest.mark.parametrize(("mlp_hidden", "tolerance"), [(0, 0.0), (16, 1e-5)])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_module_starts_at_the_values_it_is_given(length: int, mlp_hidden: int, tolerance: float) -> None:
    start = Prefix.from_stacked(torch.randn(3, 2, 2, length, 8))
    module = PrefixModule(SHAPE, length, mlp_hidden)
    module.load_values(start)
    collapsed = module.collapse()
    torch.testing.assert_close(collapsed.stacked(), start.stacked(), rtol=0.0, atol=tolerance)
    assert not any(tensor.requires_grad for tensor in collapsed.tensors.values())
    assert module.prefix().stacked().requires_grad


def test_mlp_narrower_than_the_prefix_starts_at_the_least_squares() -> None:
    start = Prefix.from_stacked(torch.randn(3, 2, 2, 9, 8))
    module = PrefixModule(SHAPE, 9, 4)
    module.load_values(start)
    error = (module.collapse().stacked() - start.stacked()).square().mean()
    assert 0 < error < start.stacked().var()


def test_module_draws_from_its_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, second, other = (PrefixModule(SHAPE, 4, 6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.collapse().stacked(), second.collapse().stacked())
    assert not torch.equal(first.collapse().stacked(), other.collapse().stacked())


def test_collapse_is_a_copy() -> None:
    module = PrefixModule(SHAPE, 4)
    collapsed = module.collapse()
    with torch.no_grad():
        module.values.add_(1.0)
    assert not collapsed.stacked().any()


def test_loading_another_shape_or_length_is_refused() -> None:
    module = PrefixModule(SHAPE, 4)
    with pytest.raises(BaseModelError, match="length 4; got 5"):
        module.load_values(random_prefix(SHAPE, 5, seed=0))
    with pytest.raises(BaseModelError, match="3 layers x 2 key/value heads x 8; got one of 3 layers x 4"):
        module.load_values(random_prefix(PrefixShape(3, 4, 8), 4, seed=0))


def test_text_prefix_acts_as_the_text(base: Base, model: Any) -> None:
    ids = torch.tensor([base.tokenizer("namenarest")["input_ids"]])
    expected = model(input_ids=ids).logits[:, 4:]
    for text in ("name", "namenamexx"):
        prefix = text_prefix(base, text, 4)
        with attached(model, [prefix]):
            torch.testing.assert_close(model(input_ids=ids[:, 4:]).logits, expected, rtol=0.0, atol=1e-5)
    assert text_prefix(base, "ab", 5).length == 5
    assert text_prefix(base, "ab", 0).parameters == 0


def test_initial_prefix_follows_the_configuration(base: Base) -> None:
    drawn = initial_prefix(base, TrainConfig(initialization="random", prefix_length=3, seed=4), "words")
    assert torch.equal(drawn.stacked(), random_prefix(base.shape, 3, 4).stacked())
    named = initial_prefix(base, TrainConfig(init_text="name", prefix_length=3), "words")
    assert torch.equal(named.stacked(), text_prefix(base, "name", 3).stacked())
    own = initial_prefix(base, TrainConfig(prefix_length=3), "words")
    assert torch.equal(own.stacked(), text_prefix(base, "words", 3).stacked())


@pytest.mark.parametrize("how", ["text", "random"])
def test_a_prefix_as_long_as_the_context_is_refused(base: Base, how: Any) -> None:
    with pytest.raises(ConfigError, match=r"context of 64 tokens; got train.prefix_length 64"):
        initial_prefix(base, TrainConfig(initialization=how, prefix_length=64), "words")


def test_a_text_without_tokens_is_refused(base: Base) -> None:
    with pytest.raises(ConfigError, match="init_text"):
        text_prefix(base, "", 4)
