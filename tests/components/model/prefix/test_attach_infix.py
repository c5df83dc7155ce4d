"""Infixes: slots between source and target, which source tokens do not attend to."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from components.data.batches import collate
from components.data.pairs import TokenizedPair
from components.errors import BaseModelError
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.load import Base
from components.model.base.shapes import INFIX
from components.model.decoding import Decoding, generate_each
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initialization import make_initial_prefix
from components.model.prefix.module import PrefixModule
from components.model.prefix.prefix import Prefix

CLOSE = {"rtol": 0.0, "atol": 1e-5}
EOS = 0


@pytest.fixture(scope="module", params=("gpt2", "llama", "qwen2", "opt", "gpt_neox"))
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 4)


@pytest.fixture
def infix(base: Base, values_for: Callable[..., Prefix]) -> Callable[..., Prefix]:
    def make(length: int, seed: int = 0) -> Prefix:
        return Prefix.from_site(values_for(base.model, length, seed).stack_decoder_site(), INFIX)

    return make


def tokens(count: int, seed: int = 1) -> list[int]:
    return torch.randint(2, 67, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def by_hand(base: Base, infix: Prefix, ids: list[int], start: int) -> tuple[Tensor, Tensor]:
    """Logits of the source as the base alone has them, and of the rest behind a cache of the source and the slots."""
    from transformers import DynamicCache

    source = base.model(input_ids=torch.tensor([ids[:start]]), use_cache=True)
    layers = [
        (torch.cat([layer.keys, key[None]], dim=2), torch.cat([layer.values, value[None]], dim=2))
        for layer, (key, value) in (
            (source.past_key_values.layers[index], infix.get_layer(index, INFIX)) for index in range(base.shape.layers)
        )
    ]
    positions = torch.arange(start, len(ids))[None] + infix.length
    seen = torch.ones(1, len(ids) + infix.length, dtype=torch.long)
    rest = base.model(
        input_ids=torch.tensor([ids[start:]]),
        attention_mask=seen,
        position_ids=positions,
        past_key_values=DynamicCache(layers),
    )
    return source.logits[0], rest.logits[0]


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False], ids=["mask", "no mask"])
def test_the_source_is_the_bases_and_the_target_sees_the_slots(base: Base, infix: Any, masked: bool) -> None:
    ids, slots, start = tokens(9), infix(4), 5
    more = {"attention_mask": torch.ones(1, 9, dtype=torch.long)} if masked else {}
    with attach_prefixes(base.model, [slots], torch.tensor([start])):
        logits = base.model(input_ids=torch.tensor([ids]), **more).logits[0]
    source, rest = by_hand(base, slots, ids, start)
    torch.testing.assert_close(logits[:start], source, **CLOSE)
    torch.testing.assert_close(logits[start:], rest, **CLOSE)
    bare = base.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(logits[:start], bare[:start], **CLOSE)
    assert not torch.allclose(logits[start:], bare[start:], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_mixed_lengths_and_starts_give_the_solo_results(base: Base, infix: Any, side: str) -> None:
    rows, counts, starts = [infix(4, 1), None, infix(2, 2), infix(6, 3)], [9, 6, 4, 7], [5, 2, 0, 6]
    ids, mask, columns = torch.ones(4, 9, dtype=torch.long), torch.zeros(4, 9, dtype=torch.long), []
    for row, count in enumerate(counts):
        first = 9 - count if side == "left" else 0
        ids[row, first : first + count], mask[row, first : first + count] = torch.tensor(tokens(count, row)), 1
        columns.append(first + starts[row])
    with attach_prefixes(base.model, rows, torch.tensor(columns)):
        logits = base.model(input_ids=ids, attention_mask=mask).logits
    for row, count in enumerate(counts):
        with attach_prefixes(base.model, [rows[row]], torch.tensor([starts[row]])):
            alone = base.model(input_ids=torch.tensor([tokens(count, row)])).logits[0]
        torch.testing.assert_close(logits[row, mask[row].bool()], alone, **CLOSE)


@pytest.mark.parametrize("again", [False, True], ids=["plain", "checkpointed"])
def test_every_slot_gets_gradient_from_the_target_only(base: Base, infix: Any, again: bool) -> None:
    module = PrefixModule(base.shape, 4, infix=True)
    module.load_values(infix(4))
    slots = module.make_prefix()
    for tensor in slots.tensors.values():
        tensor.retain_grad()
    batch = collate([TokenizedPair((5, 6, 7, 0), (8, 9, 0)), TokenizedPair((10, 0), (11, 12, 13, 0))], 1)
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT, "use_cache": False}
    predicts = torch.zeros_like(batch.labels_BT, dtype=torch.bool)
    predicts[:, :-1] = batch.labels_BT[:, 1:] >= 0
    source = torch.arange(predicts.shape[1]) < batch.starts_B[:, None]
    with (
        attach_prefixes(base.model, [slots] * 2, batch.starts_B),
        checkpoint_blocks(base.model) if again else nullcontext(),
    ):
        base.model(**inputs).logits[source].square().mean().backward()
        assert not any(tensor.grad.any() for tensor in slots.tensors.values() if tensor.grad is not None)
        base.model(**inputs).logits[predicts].logsumexp(-1).square().mean().backward()
    for name, tensor in slots.tensors.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().amax(-1).min() > 0, name


@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_with_a_cache_equals_forwards_with_attached_infixes(base: Base, infix: Any, beams: int) -> None:
    """Also with sources of one token. Without a cache, transformers' `generate` recomputes all tokens at every step."""
    rows = [infix(4, 1), infix(2, 2), infix(0), infix(6, 3), infix(4, 4)]
    sources = [[*tokens(7, 1), EOS], [EOS], [*tokens(3, 2), EOS], [*tokens(1, 3), EOS], [7, EOS]]
    decoding = Decoding(beams, 8)
    outputs = generate_each(base, rows, sources, decoding, 5)
    assert outputs == [
        generate_each(base, [row], [ids], decoding, 1)[0] for row, ids in zip(rows, sources, strict=True)
    ]
    for row, source, output in zip(rows, sources, outputs, strict=True):
        count = len(source)
        positions = torch.arange(count)[None].clone()
        positions[0, -1] += row.length
        with attach_prefixes(base.model, [row], torch.tensor([count - 1])):
            output_ids = base.model.generate(
                torch.tensor([source]),
                attention_mask=torch.ones(1, count, dtype=torch.long),
                position_ids=positions,
                num_beams=beams,
                do_sample=False,
                max_new_tokens=8,
                use_cache=False,
                eos_token_id=EOS,
                pad_token_id=1,
            )[0, count:].tolist()
        assert output == (output_ids[: output_ids.index(EOS)] if EOS in output_ids else output_ids)


def test_rows_with_infixes_prefixes_and_neither_do_not_mix(
    base: Base, infix: Any, values_for: Callable[..., Prefix]
) -> None:
    rows = [infix(4, 1), values_for(base.model, 4, 1), None, infix(2, 2)]
    sources = [[*tokens(7, 1), EOS]] * 4
    alone = [generate_each(base, [row], [ids], Decoding(1, 8), 1)[0] for row, ids in zip(rows, sources, strict=True)]
    assert generate_each(base, rows, sources, Decoding(1, 8), 4) == alone
    assert len({tuple(ids) for ids in alone}) > 2


def test_an_infix_is_for_decoder_only_bases(build_base: Callable[..., Base], base: Base, infix: Any) -> None:
    with pytest.raises(BaseModelError, match=r"an infix; got .*BartForConditionalGeneration"):
        make_initial_prefix(build_base("bart"), 3, "zero", "", 0, infix=True)
    bart = build_base("bart")
    with pytest.raises(BaseModelError):
        generate_each(bart, [Prefix.from_site(torch.zeros(2, 2, 4, 3, 8), INFIX)], [[5, 0]], Decoding(), 1)
    with pytest.raises(ValueError, match="starts_B with infixes"), attach_prefixes(base.model, [infix(3)]):
        pass
    prefix = Prefix.from_site(infix(3).stack_decoder_site())
    with (
        pytest.raises(BaseModelError, match="one base"),
        attach_prefixes(base.model, [infix(3), prefix], torch.tensor([1, 1])),
    ):
        pass
