"""The loss against the model's own logits at every position, with a prefilled cache instead of attached prefixes."""

import itertools
from dataclasses import replace

import pytest
import torch
from plain_paths import turn_off, turn_off_unless

from components.data.batches import collate
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.base.output_head import has_plain_head
from components.model.delta import Delta
from components.model.packing import is_packable
from components.model.prefix.attach import compute_positions
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.module import PrefixModule
from components.model.prefix.prefilled_cache import make_prefilled_cache
from components.model.prefix.prefix import Prefix
from components.training.objective import StepDeltas, TrainingExample


def loss_with_cache(base: Base, module: PrefixModule, pairs: list[TokenizedPair]) -> torch.Tensor:
    """Mean over target tokens, from every logit of every position, on a prefilled cache."""
    batch = collate(pairs, base.pad_id)
    rows = [module.make_prefix()] * len(pairs)
    block = stack_prefixes(rows, "cpu", torch.float32)
    cache, mask_BP = make_prefilled_cache(block), block.mask_BP
    logits_BTV = base.model(
        input_ids=batch.input_ids_BT,
        attention_mask=torch.cat([mask_BP, batch.attention_mask_BT], dim=1),
        position_ids=compute_positions(batch.attention_mask_BT, [module.length] * len(pairs)),
        past_key_values=cache,
    ).logits
    losses = []
    for row, pair in enumerate(pairs):
        start = len(pair.source_ids)
        for offset, token in enumerate(pair.target_ids):
            if pair.target_mask is None or pair.target_mask[offset]:
                losses.append(-logits_BTV[row, start + offset - 1].log_softmax(-1)[token])
    return torch.stack(losses).mean()


def loss_of(base: Base, prefix: Prefix, pairs: list[TokenizedPair]) -> tuple[float, int]:
    sums = StepDeltas(base, [Delta(prefix=prefix)]).compute_sums([TrainingExample(0, pair) for pair in pairs])
    return float(sums.nats_U), int(sums.count_U)


def mask_some(pair: TokenizedPair) -> TokenizedPair:
    """Return a pair as a conversation of two turns: between them, its target has tokens that do not count."""
    length = len(pair.target_ids)
    return replace(pair, target_mask=tuple(number % 3 != 1 or number == length - 1 for number in range(length)))


def subsets() -> list[tuple[str, ...]]:
    """Every choice of optimisations to turn off."""
    names = ("packing", "fused_loss", "fused_attention")
    return [chosen for count in range(4) for chosen in itertools.combinations(names, count)]


@pytest.mark.parametrize("off", subsets(), ids=str)
@pytest.mark.parametrize("mlp_hidden", [0, 12])
def test_equals_the_plain_loss_on_a_cache_and_its_gradient(
    base: Base, train: list[TokenizedPair], mlp_hidden: int, off: tuple[str, ...]
) -> None:
    gradients, losses = [], []
    train = [mask_some(pair) if number % 2 else pair for number, pair in enumerate(train[:8])]
    count = sum(pair.loss_tokens for pair in train)
    assert count < sum(len(pair.target_ids) for pair in train)
    for attach in (True, False):
        module = PrefixModule(base.shape, 4, mlp_hidden)
        module.load_values(make_random_prefix(base.shape, 4, seed=5))
        if attach:
            with turn_off(*off):
                deltas = StepDeltas(base, [Delta(prefix=module.make_prefix())])
                sums = [
                    deltas.backward([TrainingExample(0, pair, 1 / count) for pair in part])
                    for part in (train[:3], train[3:8])
                ]
            deltas.propagate_gradients()
            assert sum(int(one.count_U) for one in sums) == count
            losses.append(sum(float(one.nats_U) for one in sums) / count)
        else:
            loss = loss_with_cache(base, module, train[:8])
            loss.backward()
            losses.append(float(loss.detach()))
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("off", subsets(), ids=str)
def test_source_and_padding_carry_no_loss(base: Base, train: list[TokenizedPair], off: tuple[str, ...]) -> None:
    prefix = make_random_prefix(base.shape, 4, seed=5)
    long = TokenizedPair(tuple(range(2, 30)), (3, 0))
    with turn_off(*off):
        alone, other, together = (loss_of(base, prefix, pairs) for pairs in ([train[0]], [long], [train[0], long]))
    assert together[1] == len(train[0].target_ids) + 2
    assert together[0] == pytest.approx(alone[0] + other[0], rel=1e-5)


@pytest.mark.parametrize("packing", [False, True])
def test_the_vocabulary_is_computed_at_target_positions_only(
    base: Base, train: list[TokenizedPair], packing: bool
) -> None:
    prefix, rows = make_random_prefix(base.shape, 4, seed=5), []
    assert has_plain_head(base.model)  # tried out here, not while it is watched
    assert is_packable(base.model)
    handle = base.model.lm_head.register_forward_hook(lambda _head, _args, output: rows.append(output.numel() // 67))
    with turn_off_unless(packing=packing, fused_loss=False):
        loss_of(base, prefix, train[:3])
    with turn_off_unless(packing=packing):
        loss_of(base, prefix, train[:3])
    handle.remove()
    assert rows == [sum(len(pair.target_ids) for pair in train[:3]), 0]
    assert not base.model.lm_head._forward_pre_hooks


def test_tenants_in_one_pass_have_the_gradients_that_they_have_alone(base: Base, train: list[TokenizedPair]) -> None:
    parts = [train[:3], train[3:4], train[4:9]]

    def gradients(chosen: list[int]) -> list[torch.Tensor]:
        modules = [PrefixModule(base.shape, 2 + number) for number in chosen]
        for number, module in zip(chosen, modules, strict=True):
            module.load_values(make_random_prefix(base.shape, module.length, seed=number))
        deltas = StepDeltas(base, [Delta(prefix=module.make_prefix()) for module in modules])
        rows = [TrainingExample(owner, pair, 0.1) for owner, number in enumerate(chosen) for pair in parts[number]]
        deltas.backward(rows)
        deltas.propagate_gradients()
        return [next(module.parameters()).grad for module in modules]

    together = gradients([0, 1, 2])
    for number in range(3):
        torch.testing.assert_close(together[number], gradients([number])[0], rtol=1e-4, atol=1e-7)
    for number, one in zip((2, 0), gradients([2, 0]), strict=True):
        torch.testing.assert_close(together[number], one, rtol=1e-4, atol=1e-7)
