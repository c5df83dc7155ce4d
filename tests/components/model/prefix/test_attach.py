"""Attached prefixes against a prefilled cache and against each row alone, their gradients, and refusals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.shapes import PrefixShape
from components.model.prefix.attach import attach_prefixes, compute_positions
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.module import PrefixModule
from components.model.prefix.prefilled_cache import make_prefilled_cache
from components.model.prefix.prefix import Prefix

PrefixFor = Callable[..., Prefix]
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def tokens(rows: int, count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 67, (rows, count), generator=torch.Generator().manual_seed(seed))


def test_logits_equal_those_with_a_prefilled_cache(prefix_for: PrefixFor, model: Any) -> None:
    rows = [prefix_for(5, 1), prefix_for(5, 2)]
    ids = tokens(2, 9)
    with attach_prefixes(model, rows):
        logits = model(input_ids=ids).logits
    prefix_batch = stack_prefixes(rows, "cpu", torch.float32)
    cache, mask_BP = make_prefilled_cache(prefix_batch), prefix_batch.mask_BP
    mask = torch.cat([mask_BP, torch.ones_like(ids)], dim=1)
    torch.testing.assert_close(logits, model(input_ids=ids, past_key_values=cache, attention_mask=mask).logits, **CLOSE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_mixed_padded_rows_equal_each_row_alone(prefix_for: PrefixFor, model: Any, side: str) -> None:
    rows = [prefix_for(5, 1), None, prefix_for(2, 2), prefix_for(0), prefix_for(7, 3)]
    counts = [9, 6, 4, 9, 1]
    ids, mask = torch.ones(5, 9, dtype=torch.long), torch.zeros(5, 9, dtype=torch.long)
    for row, count in enumerate(counts):
        columns = slice(9 - count, 9) if side == "left" else slice(0, count)
        ids[row, columns], mask[row, columns] = tokens(1, count, seed=row)[0], 1
    position_ids = compute_positions(mask, [row.length if row else 0 for row in rows])
    with attach_prefixes(model, rows):
        logits = model(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask, position_ids=position_ids).logits, logits)
    prefix_batch = stack_prefixes(rows, "cpu", torch.float32)
    cache, mask_BP = make_prefilled_cache(prefix_batch), prefix_batch.mask_BP
    wide = torch.cat([mask_BP, mask], dim=1)
    cached = model(input_ids=ids, attention_mask=wide, position_ids=position_ids, past_key_values=cache).logits
    for row, count in enumerate(counts):
        real = mask[row].bool()
        with attach_prefixes(model, [rows[row]]):
            alone = model(input_ids=tokens(1, count, seed=row)).logits[0]
        torch.testing.assert_close(logits[row, real], alone, **CLOSE)
        torch.testing.assert_close(cached[row, real], alone, **CLOSE)


def test_a_row_does_not_depend_on_another_rows_prefix(prefix_for: PrefixFor, model: Any) -> None:
    mine, theirs, other = (prefix_for(4, seed) for seed in range(3))
    ids = tokens(2, 6)
    with attach_prefixes(model, [mine, theirs]):
        first = model(input_ids=ids).logits
    with attach_prefixes(model, [mine, other]):
        second = model(input_ids=ids).logits
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_a_forward_with_a_cache_of_tokens_equals_one_forward(prefix_for: PrefixFor, model: Any) -> None:
    rows = [prefix_for(3, 1), prefix_for(5, 2)]
    ids = tokens(2, 8)
    with attach_prefixes(model, rows):
        whole = model(input_ids=ids).logits
        first = model(input_ids=ids[:, :5], use_cache=True)
        mask = torch.ones_like(ids)
        rest = model(input_ids=ids[:, 5:], past_key_values=first.past_key_values, attention_mask=mask).logits
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole, **CLOSE)


def test_four_dimensional_masks_are_widened(prefix_for: PrefixFor, model: Any) -> None:
    prefix, ids = prefix_for(3), tokens(2, 6)
    causal = torch.full((6, 6), torch.finfo(torch.float32).min).triu(1).expand(2, 1, 6, 6)
    position_ids = compute_positions(torch.ones_like(ids), [3, 3])
    with attach_prefixes(model, [prefix] * 2):
        whole = model(input_ids=ids).logits
        masked = model(input_ids=ids, attention_mask=causal, position_ids=position_ids).logits
    torch.testing.assert_close(masked, whole, **CLOSE)


def test_an_empty_prefix_is_the_base(prefix_for: PrefixFor, model: Any) -> None:
    ids = tokens(2, 7)
    with attach_prefixes(model, [prefix_for(0), None]):
        logits = model(input_ids=ids).logits
    assert torch.equal(logits, model(input_ids=ids).logits)
    prefix_batch = stack_prefixes([prefix_for(0), None], "cpu", torch.float32)
    cache, mask_BP = make_prefilled_cache(prefix_batch), prefix_batch.mask_BP
    assert mask_BP.shape == (2, 0)
    assert torch.equal(logits, model(input_ids=ids, past_key_values=cache).logits)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("mlp_hidden", [0, 12])
def test_every_slot_gets_gradient(prefix_for: PrefixFor, model: Any, mlp_hidden: int, checkpointing: bool) -> None:
    module = PrefixModule(find_prefix_shape(model), 4, mlp_hidden)
    module.load_values(prefix_for(4))
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    if checkpointing:
        model.train().activation_checkpointing_enable()
    prefix = module.make_prefix()
    for tensor in prefix.tensors.values():
        tensor.retain_grad()
    ids = tokens(2, 7)
    with attach_prefixes(model, [prefix] * 2):
        loss = model(input_ids=ids, use_cache=False).logits.logsumexp(-1).square().mean()
        loss.backward()
    for name, tensor in prefix.tensors.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().amax(-1).min() > 0, name
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_checkpointing_gives_the_same_gradient(prefix_for: PrefixFor, model: Any) -> None:
    gradients, shape, prefix = [], find_prefix_shape(model), prefix_for(4)
    for checkpointing in (False, True):
        if checkpointing:
            for layer in model.modules():
                if isinstance(layer, torch.nn.Dropout):
                    layer.p = 0.0
            model.train().activation_checkpointing_enable()
        module = PrefixModule(shape, 4)
        module.load_values(prefix)
        with attach_prefixes(model, [module.make_prefix()]):
            model(input_ids=tokens(1, 7), use_cache=False).logits.square().mean().backward()
        gradients.append(module.slots[0].values.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_model_does_not_change(prefix_for: PrefixFor, model: Any) -> None:
    ids = tokens(1, 6)
    before, implementation = model(input_ids=ids).logits, model.config._attn_implementation
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()]
    with attach_prefixes(model, [prefix_for(3)]):
        assert not torch.allclose(model(input_ids=ids).logits, before)
    with pytest.raises(KeyboardInterrupt), attach_prefixes(model, [prefix_for(3)]):
        raise KeyboardInterrupt
    assert torch.equal(model(input_ids=ids).logits, before)
    assert model.config._attn_implementation == implementation
    assert hooks == [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()]


@pytest.mark.parametrize(
    ("layers", "heads", "size"), [(-1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 4)], ids=["few", "many", "heads", "size"]
)
def test_a_prefix_of_another_shape_is_refused(
    prefix_for: PrefixFor, model: Any, layers: int, heads: int, size: int
) -> None:
    shape = find_prefix_shape(model)
    other = PrefixShape(shape.layers + layers, shape.kv_heads + heads, shape.head_dim + size)
    values = torch.zeros(other.layers, 2, other.kv_heads, 3, other.head_dim)
    with pytest.raises(BaseModelError, match="wanted"), attach_prefixes(model, [Prefix.from_site(values)]):
        model(input_ids=tokens(1, 4))


def test_a_batch_that_is_not_a_multiple_of_the_rows_is_refused(prefix_for: PrefixFor, model: Any) -> None:
    with pytest.raises(ValueError, match="multiple of 2; got 3"), attach_prefixes(model, [prefix_for(3), None]):
        model(input_ids=tokens(3, 4))


def test_attaching_twice_is_refused(prefix_for: PrefixFor, model: Any) -> None:
    rows = [prefix_for(3)]
    with (
        pytest.raises(RuntimeError, match="overridden already"),
        attach_prefixes(model, rows),
        attach_prefixes(model, rows),
    ):
        pass


def test_bfloat16_base_takes_a_float32_prefix(prefix_for: PrefixFor, model: Any) -> None:
    model.to(torch.bfloat16)
    with attach_prefixes(model, [prefix_for(3)]):
        assert model(input_ids=tokens(1, 6)).logits.dtype == torch.bfloat16
