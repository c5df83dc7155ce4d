"""The trainable form of prefixes and prompts: initial values, random numbers, and collapsed copies."""

import pytest
import torch

from components.errors import BaseModelError
from components.model.base.shapes import INFIX, PrefixShape, SiteShape
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.module import PrefixModule, PromptModule
from components.model.prefix.prefix import Prefix

SHAPE = PrefixShape(layers=3, kv_heads=2, head_dim=8)
PAIR = PrefixShape(2, 4, 8, encoder=SiteShape(3, 2, 8), cross=SiteShape(2, 4, 16))


@pytest.mark.parametrize(("mlp_hidden", "tolerance"), [(0, 0.0), (16, 1e-5)])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_module_has_the_values_that_it_loads(length: int, mlp_hidden: int, tolerance: float) -> None:
    start = Prefix.from_site(torch.randn(3, 2, 2, length, 8))
    module = PrefixModule(SHAPE, length, mlp_hidden)
    module.load_values(start)
    collapsed = module.collapse()
    torch.testing.assert_close(collapsed.stack_decoder_site(), start.stack_decoder_site(), rtol=0.0, atol=tolerance)
    assert not any(tensor.requires_grad for tensor in collapsed.tensors.values())
    assert module.make_prefix().stack_decoder_site().requires_grad


def test_an_mlp_narrower_than_the_prefix_fits_the_least_squares() -> None:
    start = Prefix.from_site(torch.randn(3, 2, 2, 9, 8))
    module = PrefixModule(SHAPE, 9, 4)
    module.load_values(start)
    error = (module.collapse().stack_decoder_site() - start.stack_decoder_site()).square().mean()
    assert 0 < error < start.stack_decoder_site().var()


def test_random_values_depend_on_the_seed_only() -> None:
    state = torch.random.get_rng_state()
    first, second, other = (PrefixModule(SHAPE, 4, 6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.collapse().stack_decoder_site(), second.collapse().stack_decoder_site())
    assert not torch.equal(first.collapse().stack_decoder_site(), other.collapse().stack_decoder_site())


def test_collapse_is_a_copy() -> None:
    module = PrefixModule(SHAPE, 4)
    collapsed = module.collapse()
    with torch.no_grad():
        module.slots[0].values.add_(1.0)
    assert not collapsed.stack_decoder_site().any()


def test_loading_another_shape_or_length_is_refused() -> None:
    module = PrefixModule(SHAPE, 4)
    with pytest.raises(BaseModelError, match=r"length 4 in decoder\.self; got 5"):
        module.load_values(make_random_prefix(SHAPE, 5, seed=0))
    with pytest.raises(BaseModelError, match="3 layers x 2 key/value heads x 8; got one of 3 layers x 4"):
        module.load_values(make_random_prefix(PrefixShape(3, 4, 8), 4, seed=0))


@pytest.mark.parametrize("mlp_hidden", [0, 6])
@pytest.mark.parametrize("infix", [False, True])
def test_every_site_has_its_own_slots(mlp_hidden: int, infix: bool) -> None:
    shape = SHAPE if infix else PAIR
    module = PrefixModule(shape, 4, mlp_hidden, infix=infix)
    start = make_random_prefix(shape, 4, seed=3, scale=1.0)
    if infix:
        start = Prefix.from_site(start.stack_decoder_site(), INFIX)
    module.load_values(start)
    collapsed = module.collapse()
    assert list(collapsed.tensors) == list(start.tensors)
    for name, tensor in collapsed.tensors.items():
        torch.testing.assert_close(tensor, start.tensors[name], rtol=0.0, atol=1e-4)
        assert tensor.is_contiguous()
    first = next(iter(start.tensors))
    module.make_prefix().tensors[first].sum().backward()
    moved = [any(one.grad is not None for one in slots.parameters()) for slots in module.slots]
    assert moved == [True] + [False] * (len(module.slots) - 1)


def test_an_infix_cannot_load_a_prefix() -> None:
    with pytest.raises(BaseModelError, match=r"decoder\.infix; got 4 in decoder\.self"):
        PrefixModule(SHAPE, 4, infix=True).load_values(make_random_prefix(SHAPE, 4, seed=0))


@pytest.mark.parametrize(("mlp_hidden", "tolerance"), [(0, 0.0), (6, 1e-5)])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_prompt_has_the_values_that_it_loads(length: int, mlp_hidden: int, tolerance: float) -> None:
    module, start = PromptModule(8, length, mlp_hidden, seed=1), torch.randn(length, 8)
    module.load_values(start)
    torch.testing.assert_close(module.collapse(), start, rtol=0.0, atol=tolerance)
    assert module.make_prompt().requires_grad
    assert not module.collapse().requires_grad
    for wrong in (torch.zeros(length + 1, 8), torch.zeros(length, 7)):
        with pytest.raises(BaseModelError, match="a prompt of"):
            module.load_values(wrong)
