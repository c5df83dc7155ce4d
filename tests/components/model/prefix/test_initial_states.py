"""Rows of hybrids that start from states of their own: gradients of every state, and no effect on other rows."""

import copy
from collections.abc import Callable
from typing import Any

import architectures
import pytest
import torch
from tiny_models import add_states
from torch import Tensor

from components.errors import ArtifactError, BaseModelError
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.recurrent_states import find_state_shapes
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initial_states import make_state_name
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.module import PrefixModule
from components.model.prefix.prefix import Prefix

COUNTS = (9, 6, 4, 9, 2)
CLOSE = {"rtol": 0.0, "atol": 5e-4}
PrefixFor = Callable[..., Prefix]


@pytest.fixture(scope="module", params=architectures.INITIAL_STATES)
def model(request: pytest.FixtureRequest, build_model: Callable[..., Any]) -> Any:
    return build_model(request.param)


@pytest.fixture
def rows(model: Any, values_for: PrefixFor) -> list[Prefix | None]:
    """Rows with slots and states, with one of both, and with none."""
    full = [add_states(model, values_for(model, length, length), seed=length) for length in (3, 0, 5)]
    return [full[0], values_for(model, 2, 9), full[1], None, full[2]]


def tokens(rows: int, count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 67, (rows, count), generator=torch.Generator().manual_seed(seed))


def padded() -> tuple[Tensor, Tensor]:
    """Rows of COUNTS tokens, padded on the right, and their mask."""
    mask = torch.arange(max(COUNTS)) < torch.tensor(COUNTS)[:, None]
    ids = torch.stack([torch.nn.functional.pad(tokens(1, n, n)[0], (0, max(COUNTS) - n), value=1) for n in COUNTS])
    return ids, mask.long()


def make_module(model: Any, start: Prefix) -> PrefixModule:
    sizes = {key: shape.sizes for key, shape in find_state_shapes(model).items()}
    module = PrefixModule(find_prefix_shape(model), start.length, states=sizes)
    module.load_values(start)
    return module


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_every_state_gets_gradient_also_from_zero(model: Any, values_for: PrefixFor, scale: float) -> None:
    prefix = make_module(model, add_states(model, values_for(model, 2), scale=scale)).make_prefix()
    states = list(prefix.states.values())
    assert states
    with attach_prefixes(model, [prefix] * 2):
        logits = model(input_ids=tokens(2, 7), use_cache=False).logits
        gradients = torch.autograd.grad(logits.logsumexp(-1).square().mean(), states)
    assert all(gradient.any() for gradient in gradients)


@torch.no_grad()
def test_zero_states_are_the_base_exactly(model: Any, values_for: PrefixFor) -> None:
    ids, mask = padded()

    def compute() -> Tensor:
        logits: Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
        return logits

    bare, slots = compute(), values_for(model, 3)
    with attach_prefixes(model, [slots] * 5):
        with_slots = compute()
    for length, wanted in ((0, bare), (3, with_slots)):
        prefix = values_for(model, length) if length != 3 else slots
        with attach_prefixes(model, [add_states(model, prefix, scale=0.0)] * 5):
            assert torch.equal(compute(), wanted)
        with attach_prefixes(model, [add_states(model, prefix)] * 5):
            assert not torch.allclose(compute(), wanted, atol=1e-2)
    assert torch.equal(compute(), bare)


@torch.no_grad()
def test_mixed_rows_equal_each_row_alone(model: Any, rows: list[Prefix | None]) -> None:
    ids, mask = padded()
    with attach_prefixes(model, rows):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    for row, (prefix, count) in enumerate(zip(rows, COUNTS, strict=True)):
        with attach_prefixes(model, [prefix]):
            alone = model(input_ids=ids[row : row + 1, :count], use_cache=False).logits[0]
        torch.testing.assert_close(logits[row, :count], alone, **CLOSE)


@torch.no_grad()
def test_a_state_has_an_effect_on_its_own_row_only(model: Any, rows: list[Prefix | None]) -> None:
    ids, mask = padded()

    def compute(changed: str = "") -> Tensor:
        first = Prefix({name: tensor + (name == changed) for name, tensor in rows[0].tensors.items()})  # type: ignore[union-attr]
        with attach_prefixes(model, [first, *rows[1:]]):
            logits: Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits

    before = compute()
    for key in find_state_shapes(model):
        after = compute(make_state_name(key))
        assert not torch.allclose(after[0], before[0], atol=1e-4), key
        torch.testing.assert_close(after[1:], before[1:], rtol=0.0, atol=1e-5)


def test_checkpointing_gives_the_same_gradient(model: Any, values_for: PrefixFor) -> None:
    ids, mask = padded()
    gradients = []
    for again in (False, True):
        module = make_module(model, add_states(model, values_for(model, 2)))
        with attach_prefixes(model, [module.make_prefix()] * 5):
            own = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
            if again:
                with checkpoint_blocks(model):
                    model(**own).logits.square().mean().backward()
            else:
                model(**own).logits.square().mean().backward()
        gradients.append([parameter.grad for parameter in module.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_bfloat16_keeps_the_states_in_the_types_of_the_cache(model: Any, values_for: PrefixFor) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    prefix = add_states(half, values_for(model, 3))
    ids = tokens(2, 7)
    with attach_prefixes(model, [prefix] * 2):
        exact = model(input_ids=ids, use_cache=False).logits
    own = (model(input_ids=ids, use_cache=False).logits - half(input_ids=ids, use_cache=False).logits).square().mean()
    with attach_prefixes(half, [prefix] * 2) as attachment:
        rounded = half(input_ids=ids, use_cache=False).logits
        assert attachment is not None
        dtypes = {key: state.dtype for key, state in attachment.take_states().items()}
    assert dtypes == {key: shape.dtype for key, shape in find_state_shapes(half).items()}
    assert (rounded - exact).square().mean().sqrt() < 0.05 * exact.std() + 5 * own.sqrt()


@torch.no_grad()
def test_forwards_in_which_states_would_be_lost_are_errors(
    build_model: Callable[..., Any], values_for: PrefixFor
) -> None:
    model = build_model("falcon_h1")
    prefix, ids = add_states(model, values_for(model, 2)), tokens(1, 4)
    cache = model(input_ids=ids, use_cache=True).past_key_values
    with attach_prefixes(model, [prefix]):
        with pytest.raises(ValueError, match="got a cache"):
            model(input_ids=ids, past_key_values=cache, attention_mask=torch.ones(1, 8))
        with pytest.raises(ValueError, match="without padding on the left"):
            model(input_ids=ids, attention_mask=torch.tensor([[0, 1, 1, 1]]), use_cache=False)
        with pytest.raises(ValueError, match="2 tokens"):
            model(input_ids=ids[:, :1], use_cache=False)


def test_states_of_another_base_are_refused(build_model: Callable[..., Any], values_for: PrefixFor) -> None:
    falcon, gpt2 = build_model("falcon_h1"), build_model("gpt2")
    prefix = add_states(falcon, values_for(falcon, 2))
    other = Prefix({name: tensor[1:] if ".0.rec" in name else tensor for name, tensor in prefix.tensors.items()})
    with (
        pytest.raises(BaseModelError, match=r"a recurrent state in layer 0 of \(4, 8, 8\)"),
        attach_prefixes(falcon, [other]),
    ):
        pass
    with (
        pytest.raises(BaseModelError, match=r"decoder\.state\.0\.recurrent of one base"),
        attach_prefixes(falcon, [prefix, other]),
    ):
        pass
    mixed = Prefix(values_for(gpt2, 2).tensors | {name: prefix.tensors[name] for name in list(prefix.tensors)[-2:]})
    with pytest.raises(BaseModelError, match="no layer keeps a recurrent state"), attach_prefixes(gpt2, [mixed]):
        pass


def test_a_prefix_keeps_its_states(build_model: Callable[..., Any], values_for: PrefixFor) -> None:
    model = build_model("falcon_h1")
    slots = make_random_prefix(find_prefix_shape(model), 3, 0)
    whole = add_states(model, slots)
    assert list(whole.tensors)[: len(slots.tensors)] == list(slots.tensors)
    assert whole.slot_tensors == slots.tensors
    assert list(whole.states) == [(0, "convolution"), (0, "recurrent"), (1, "convolution"), (1, "recurrent")]
    short = whole.drop_slots(2)
    joined = Prefix.join(slots, short)
    assert (short.length, joined.length) == (1, 4)
    for one in (short, joined, whole.to(torch.float64).to(torch.float32)):
        assert all(torch.equal(one.states[key], state) for key, state in whole.states.items())
    with pytest.raises(BaseModelError, match=r"got one with decoder\.state\.0\.convolution"):
        Prefix.join(whole, slots)
    named = {name: whole.tensors[name] for name in whole.tensors if name not in slots.tensors}
    with pytest.raises(ArtifactError, match=r"an infix; got one with decoder\.state"):
        Prefix(slots.to_infix().tensors | named)
    with pytest.raises(ArtifactError, match=r"decoder\.state\.0\.other"):
        Prefix(slots.tensors | {"decoder.state.0.other": torch.zeros(2)})
