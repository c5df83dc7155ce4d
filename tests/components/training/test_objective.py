"""The loss against the model's own logits at every position, with a prefilled cache instead of attached prefixes."""

import pytest
import torch

from components.data.batches import collate
from components.data.tokens import Encoded
from components.model.attach import positions
from components.model.base import Base
from components.model.cache import cache_of
from components.model.initialization import random_prefix
from components.model.prefix_module import PrefixModule
from components.model.rows import stack_rows
from components.training.objective import mean_loss, target_loss


def loss_with_cache(base: Base, module: PrefixModule, pairs: list[Encoded]) -> torch.Tensor:
    """Mean over target tokens, from every logit of every position, on a prefilled cache."""
    batch = collate(pairs, base.pad_id)
    rows = [module.prefix()] * len(pairs)
    block = stack_rows(rows, "cpu", torch.float32)
    cache, mask_BP = cache_of(block), block.mask_BP
    logits_BTV = base.model(
        input_ids=batch.input_ids_BT,
        attention_mask=torch.cat([mask_BP, batch.attention_mask_BT], dim=1),
        position_ids=positions(batch.attention_mask_BT, [module.length] * len(pairs)),
        past_key_values=cache,
    ).logits
    losses = []
    for row, pair in enumerate(pairs):
        start = len(pair.source_ids)
        for offset, token in enumerate(pair.target_ids):
            losses.append(-logits_BTV[row, start + offset - 1].log_softmax(-1)[token])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("mlp_hidden", [0, 12])
def test_equals_the_plain_loss_on_a_cache_and_its_gradient(base: Base, train: list[Encoded], mlp_hidden: int) -> None:
    gradients, losses = [], []
    for attach in (True, False):
        module = PrefixModule(base.shape, 4, mlp_hidden)
        module.load_values(random_prefix(base.shape, 4, seed=5))
        if attach:
            total, count = target_loss(base, module.prefix(), collate(train[:8], base.pad_id))
            assert count == sum(len(pair.target_ids) for pair in train[:8])
            loss = total / count
        else:
            loss = loss_with_cache(base, module, train[:8])
        loss.backward()
        losses.append(loss.detach())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=0.0, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_source_and_padding_carry_no_loss(base: Base, train: list[Encoded]) -> None:
    prefix = random_prefix(base.shape, 4, seed=5)
    alone, _ = target_loss(base, prefix, collate(train[:1], base.pad_id))
    long = Encoded(tuple(range(2, 30)), (3, 0))
    other, _ = target_loss(base, prefix, collate([long], base.pad_id))
    together, count = target_loss(base, prefix, collate([train[0], long], base.pad_id))
    assert count == len(train[0].target_ids) + 2
    torch.testing.assert_close(together, alone + other)


def test_the_vocabulary_is_computed_at_target_positions_only(base: Base, train: list[Encoded]) -> None:
    prefix, rows = random_prefix(base.shape, 4, seed=5), []
    handle = base.model.lm_head.register_forward_hook(lambda _head, _args, output: rows.append(output.shape))
    target_loss(base, prefix, collate(train[:3], base.pad_id))
    handle.remove()
    assert rows == [(sum(len(pair.target_ids) for pair in train[:3]), 67)]
    assert not base.model.lm_head._forward_pre_hooks


def test_mean_loss_weighs_tokens_whatever_the_batches(base: Base, train: list[Encoded]) -> None:
    prefix = random_prefix(base.shape, 4, seed=5)
    one = mean_loss(base, prefix, [collate(train, base.pad_id)])
    many = mean_loss(base, prefix, [collate([pair], base.pad_id) for pair in train])
    assert one == pytest.approx(many, rel=1e-5)
