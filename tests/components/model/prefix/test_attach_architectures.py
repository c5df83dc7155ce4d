"""Attached prefixes on every architecture: gradients of every slot, and rows that do not depend on each other."""

import copy
from collections.abc import Callable
from typing import Any

import architectures
import pytest
import torch
from torch import Tensor

from components.model.base.attention_sites import find_prefix_shape
from components.model.base.checkpointing import checkpoint_blocks
from components.model.prefix.attach import attach_prefixes, compute_positions
from components.model.prefix.module import PrefixModule
from components.model.prefix.prefix import Prefix

CLOSE = {"rtol": 0.0, "atol": 2e-5}  # processors round differently
LENGTHS = (5, None, 2, 0, 7)
COUNTS = (9, 6, 4, 9, 1)
PrefixFor = Callable[..., Prefix]


@pytest.fixture(scope="module", params=architectures.ALL)
def model(request: pytest.FixtureRequest, build_model: Callable[..., Any]) -> Any:
    return build_model(request.param)


def tokens(rows: int, count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 67, (rows, count), generator=torch.Generator().manual_seed(seed))


def has_recurrent_layers(model: Any) -> bool:
    return type(model.config).__name__ in {architectures.ALL[kind].config for kind in architectures.HYBRIDS}


def close(model: Any) -> dict[str, float]:
    """Recurrent layers sum in another order where rows have another length."""
    return {"rtol": 0.0, "atol": 5e-4} if has_recurrent_layers(model) else CLOSE


def padded(side: str) -> tuple[Tensor, Tensor]:
    """Rows of COUNTS tokens, and their mask."""
    ids, mask = torch.ones(len(COUNTS), max(COUNTS), dtype=torch.long), torch.zeros(len(COUNTS), max(COUNTS)).long()
    for row, count in enumerate(COUNTS):
        columns = slice(max(COUNTS) - count, None) if side == "left" else slice(0, count)
        ids[row, columns], mask[row, columns] = tokens(1, count, seed=row)[0], 1
    return ids, mask


def logits_of(model: Any, ids: Tensor, **more: Any) -> Tensor:
    """Logits of every position; an encoder-decoder model's decoder reads the same five tokens in every row."""
    if model.config.is_encoder_decoder:
        more["decoder_input_ids"] = tokens(1, 5, seed=77).expand(len(ids), -1)
    logits: Tensor = model(input_ids=ids, **more).logits
    return logits


@pytest.mark.parametrize("mlp_hidden", [0, 12])
def test_every_slot_of_every_layer_gets_gradient(model: Any, values_for: PrefixFor, mlp_hidden: int) -> None:
    module = PrefixModule(find_prefix_shape(model), 4, mlp_hidden)
    module.load_values(values_for(model, 4))
    prefix = module.make_prefix()
    for tensor in prefix.tensors.values():
        tensor.retain_grad()
    with attach_prefixes(model, [prefix] * 2):
        logits_of(model, tokens(2, 7)).logsumexp(-1).square().mean().backward()
    for name, tensor in prefix.tensors.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().amax(-1).min() > 0, name
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


@torch.no_grad()
def test_an_empty_prefix_is_the_base_exactly(model: Any, values_for: PrefixFor) -> None:
    ids, mask = padded("right")
    bare = logits_of(model, ids, attention_mask=mask)
    with attach_prefixes(model, [values_for(model, 0), None, values_for(model, 0), None, None]):
        assert torch.equal(logits_of(model, ids, attention_mask=mask), bare)
    with attach_prefixes(model, [values_for(model, 3)] * 5):
        assert not torch.allclose(logits_of(model, ids, attention_mask=mask), bare, atol=1e-2)
    assert torch.equal(logits_of(model, ids, attention_mask=mask), bare)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_mixed_padded_rows_equal_each_row_alone(model: Any, values_for: PrefixFor, side: str) -> None:
    rows = [None if length is None else values_for(model, length, length) for length in LENGTHS]
    ids, mask = padded(side)
    with attach_prefixes(model, rows):
        logits = logits_of(model, ids, attention_mask=mask)
        if not model.config.is_encoder_decoder:
            positions = compute_positions(mask, [length or 0 for length in LENGTHS])
            assert torch.equal(logits_of(model, ids, attention_mask=mask, position_ids=positions), logits)
    for row, (prefix, count) in enumerate(zip(rows, COUNTS, strict=True)):
        with attach_prefixes(model, [prefix]):
            alone = logits_of(model, tokens(1, count, seed=row))[0]
        real = slice(None) if model.config.is_encoder_decoder else mask[row].bool()
        torch.testing.assert_close(logits[row, real], alone, **close(model))


@torch.no_grad()
def test_a_row_depends_on_every_site_of_its_own_prefix_only(model: Any, values_for: PrefixFor) -> None:
    mine, theirs, other = (values_for(model, 4, seed) for seed in range(3))
    first, second = (self_and(model, mine, one) for one in (theirs, other))
    torch.testing.assert_close(first[0], second[0], **CLOSE)
    assert not torch.allclose(first[1], second[1], atol=1e-2)
    for site in find_prefix_shape(model).sites:
        changed = {name: tensor + name.startswith(site) for name, tensor in mine.tensors.items()}
        moved = self_and(model, Prefix(changed), theirs)
        assert not torch.allclose(moved[0], first[0], atol=1e-3), f"{site} has no effect"
        torch.testing.assert_close(moved[1], first[1], **CLOSE)


def self_and(model: Any, *rows: Prefix) -> Tensor:
    with attach_prefixes(model, rows):
        return logits_of(model, tokens(len(rows), 6))


@torch.no_grad()
@pytest.mark.parametrize("attend", ["token by token", "in two parts"])
def test_a_forward_with_a_cache_of_tokens_equals_one_forward(model: Any, values_for: PrefixFor, attend: str) -> None:
    is_hybrid = has_recurrent_layers(model)
    forgetful = {architectures.ALL[kind].config for kind in architectures.NO_INITIAL_STATES}
    if attend == "in two parts" and type(model.config).__name__ in forgetful:
        pytest.skip("its recurrent layers continue one token at a time")
    rows = [values_for(model, 3, 1), None, values_for(model, 5, 2)]
    ids, mask = tokens(3, 8), torch.ones(3, 8, dtype=torch.long)
    mask[2, 5:] = 0
    cuts = [5, 3] if attend == "in two parts" else [5, 1, 1, 1] if is_hybrid else [1] * 8
    with attach_prefixes(model, rows):
        parts, cache, start = [], None, 0
        if model.config.is_encoder_decoder:
            source, written = model.get_encoder()(input_ids=ids, attention_mask=mask), tokens(3, 8, seed=5)
            whole = model(input_ids=ids, attention_mask=mask, decoder_input_ids=written).logits
        else:
            mask = mask.flip(1)
            whole = model(input_ids=ids, attention_mask=mask).logits
        for cut in cuts:
            end = start + cut
            if model.config.is_encoder_decoder:
                part = {"encoder_outputs": source, "decoder_input_ids": written[:, start:end], "attention_mask": mask}
            else:
                part = {"input_ids": ids[:, start:end], "attention_mask": mask[:, :end]}
            output = model(**part, past_key_values=cache, use_cache=True)
            parts.append(output.logits)
            cache, start = output.past_key_values, end
    real = torch.ones_like(mask).bool() if model.config.is_encoder_decoder else mask.bool()
    torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real], **close(model))


def test_checkpointing_gives_the_same_gradient(model: Any, values_for: PrefixFor) -> None:
    gradients = []
    ids, mask = padded("right")
    for again in (False, True):
        module = PrefixModule(find_prefix_shape(model), 4)
        module.load_values(values_for(model, 4))
        with attach_prefixes(model, [module.make_prefix()] * 5):
            if again:
                with checkpoint_blocks(model):
                    logits_of(model, ids, attention_mask=mask, use_cache=False).square().mean().backward()
            else:
                logits_of(model, ids, attention_mask=mask, use_cache=False).square().mean().backward()
        gradients.append([parameter.grad for parameter in module.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-6, atol=1e-6)
    assert all("forward" not in vars(part) for part in model.modules())


@torch.no_grad()
def test_bfloat16_is_within_its_tolerance(model: Any, values_for: PrefixFor) -> None:
    """bfloat16 has 8 bits of mantissa; rows of a mixed batch are as close to the rows alone as to float32.

    Recurrent layers add the rounding of all earlier tokens, with prefixes and without.
    """
    half = copy.deepcopy(model).to(torch.bfloat16)
    rows = [None if length is None else values_for(model, length, length) for length in LENGTHS]
    ids, mask = padded("right")
    with attach_prefixes(model, rows):
        exact = logits_of(model, ids, attention_mask=mask)
    with attach_prefixes(half, rows):
        logits = logits_of(half, ids, attention_mask=mask)
    allowed = 0.03
    if has_recurrent_layers(model):
        own, theirs = (logits_of(one, ids, attention_mask=mask).float()[mask.bool()] for one in (half, model))
        allowed = max(allowed, float(5 * (own - theirs).square().mean().sqrt() / theirs.std()))
    for row, (prefix, count) in enumerate(zip(rows, COUNTS, strict=True)):
        with attach_prefixes(half, [prefix]):
            alone = logits_of(half, tokens(1, count, seed=row))[0].float()
        real = slice(None) if model.config.is_encoder_decoder else mask[row].bool()
        scale = exact[row, real].std()
        assert (logits[row, real].float() - exact[row, real]).square().mean().sqrt() < allowed * scale
        assert (logits[row, real].float() - alone).square().mean().sqrt() < allowed * scale


@torch.no_grad()
def test_an_exception_inside_restores_the_model(model: Any, values_for: PrefixFor) -> None:
    before = model.config._attn_implementation
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()]
    with pytest.raises(KeyboardInterrupt), attach_prefixes(model, [values_for(model, 3)]):
        raise KeyboardInterrupt
    assert model.config._attn_implementation == before
    assert hooks == [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt_oss", "deepseek_v3", "qwen3_next"])
def test_rows_in_any_order_give_the_same_where_tokens_go_to_some_experts(
    kind: str, values_for: PrefixFor, build_model: Callable[..., Any]
) -> None:
    model = build_model(kind, num_experts_per_tok=2)
    rows = [None if length is None else values_for(model, length, length) for length in LENGTHS]
    ids, mask = padded("left")
    order = [3, 0, 4, 1, 2]
    with attach_prefixes(model, rows):
        logits = logits_of(model, ids, attention_mask=mask)
    with attach_prefixes(model, [rows[row] for row in order]):
        again = logits_of(model, ids[order], attention_mask=mask[order])
    for place, row in enumerate(order):
        torch.testing.assert_close(again[place][mask[row].bool()], logits[row][mask[row].bool()], **CLOSE)
