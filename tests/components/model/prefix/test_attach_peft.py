"""The same tensors in PEFT's prefix tuning and here: same logits, same greedy and beam output."""

from typing import Any

import peft
import pytest
import torch

from components.model.base.attention_sites import find_prefix_shape
from components.model.prefix.attach import attach_prefixes, compute_positions
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.module import PrefixModule
from components.model.prefix.prefilled_cache import make_prefilled_cache
from components.model.prefix.prefix import Prefix

LENGTH, HIDDEN = 5, 12


@pytest.fixture(params=[0, HIDDEN], ids=["values", "mlp"])
def pair(request: pytest.FixtureRequest, model: Any) -> tuple[Any, Prefix]:
    """A PeftModel and our prefix; the PeftModel holds our module's own parameters."""
    shape = find_prefix_shape(model)
    module = PrefixModule(shape, LENGTH, request.param, seed=3)
    start = torch.randn(shape.layers, 2, shape.kv_heads, LENGTH, shape.head_dim)
    module.load_values(Prefix.from_site(start))
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=LENGTH,
        prefix_projection=bool(request.param),
        encoder_hidden_size=request.param or None,
    )
    theirs = peft.get_peft_model(model, config).eval()
    encoder, slots = theirs.prompt_encoder["default"], module.slots[0]
    with torch.no_grad():
        if request.param:
            encoder.embedding.weight.copy_(slots.embedding)
            encoder.transform[0].weight.copy_(slots.inner_weight)
            encoder.transform[0].bias.copy_(slots.inner_bias)
            encoder.transform[2].weight.copy_(slots.outer_weight)
            encoder.transform[2].bias.copy_(slots.outer_bias)
        else:
            encoder.embedding.weight.copy_(
                module.collapse().stack_decoder_site().permute(3, 0, 1, 2, 4).reshape(LENGTH, -1)
            )
    return theirs, module.collapse()


def tokens(rows: int, count: int) -> torch.Tensor:
    return torch.randint(2, 67, (rows, count), generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def test_logits_are_the_same(model: Any, pair: tuple[Any, Prefix]) -> None:
    theirs, prefix = pair
    ids, mask = tokens(3, 9), torch.ones(3, 9, dtype=torch.long)
    mask[1, 4:], mask[2, 7:] = 0, 0
    expected = theirs(input_ids=ids, attention_mask=mask).logits
    with attach_prefixes(model, [prefix] * 3):
        ours = model(input_ids=ids, attention_mask=mask).logits
    real = mask.bool()
    torch.testing.assert_close(ours[real], expected[real], rtol=0.0, atol=1e-5)
    assert not torch.allclose(ours[real], model(input_ids=ids, attention_mask=mask).logits[real], atol=1e-2)


@pytest.mark.parametrize("beams", [1, 4])
def test_generated_tokens_are_the_same(model: Any, pair: tuple[Any, Prefix], beams: int) -> None:
    theirs, prefix = pair
    ids = tokens(2, 6)
    mask = torch.ones_like(ids)
    options = {"max_new_tokens": 12, "num_beams": beams, "do_sample": False, "pad_token_id": 1}
    expected = theirs.generate(input_ids=ids, attention_mask=mask, **options)
    with attach_prefixes(model, [prefix] * 2):
        position_ids = compute_positions(mask, [LENGTH] * 2)
        ours = model.generate(input_ids=ids, attention_mask=mask, position_ids=position_ids, **options)
    assert ours.tolist() == expected.tolist()
    prefix_batch = stack_prefixes([prefix] * (2 * beams), "cpu", torch.float32)
    cache, mask_BP = make_prefilled_cache(prefix_batch), prefix_batch.mask_BP
    wide = torch.cat([mask_BP[:2], mask], dim=1)
    cached = model.generate(
        input_ids=ids, attention_mask=wide, past_key_values=cache, position_ids=position_ids, **options
    )
    assert cached.tolist() == expected.tolist()
    assert expected.tolist() != model.generate(input_ids=ids, attention_mask=mask, **options).tolist()
