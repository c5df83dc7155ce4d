"""Training on bases of every kind: each row's loss is that of the row alone, and gradients reach every value."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_paths import turn_off

from components.data.pairs import TokenizedPair
from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.delta import Delta, compute_prompt_prefix
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initialization import make_initial_prefix
from components.model.prefix.module import PrefixModule
from components.training.objective import StepDeltas, TrainingExample

KINDS = ("gemma2", "gpt_oss", "llama4_text", "gemma3n_text", "gemma4_text", "deepseek_v3", "qwen3_5_text")
PAIRS = [TokenizedPair((5, 6, 7, 8, 9, 10, 11, 0), (12, 13, 0)), TokenizedPair((14, 0), (15, 16, 17, 18, 19, 20, 0))]


@torch.no_grad()
def loss_alone(base: Base, prefix: Any, pair: TokenizedPair) -> float:
    ids, first = [*pair.source_ids, *pair.target_ids], len(pair.source_ids)
    with attach_prefixes(base.model, [prefix], torch.tensor([first - 1])):
        logits_TV = base.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    return float(
        torch.nn.functional.cross_entropy(logits_TV[first - 1 : -1], torch.tensor(ids[first:]), reduction="sum")
    )


@pytest.mark.parametrize(("infix", "mlp_hidden"), [(False, 0), (True, 6)])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_and_padded_rows_have_the_loss_of_rows_alone(
    kind: str, infix: bool, mlp_hidden: int, build_base: Callable[..., Base]
) -> None:
    base = build_base(kind)
    start = make_initial_prefix(base, 3, "text", "a few words", 0, infix=infix)
    gradients = []
    for off in ((), ("packing",)):
        module = PrefixModule(base.shape, 3, mlp_hidden, infix=infix)
        module.load_values(start)
        with turn_off(*off):
            deltas = StepDeltas(base, [Delta(prefix=module.make_prefix())])
            sums = deltas.backward([TrainingExample(0, pair) for pair in PAIRS])
            deltas.propagate_gradients()
        wanted = sum(loss_alone(base, module.collapse(), pair) for pair in PAIRS)
        assert float(sums.nats_U) == pytest.approx(wanted, rel=1e-4)
        gradients.append([parameter.grad for parameter in module.parameters()])
    for packed, padded in zip(*gradients, strict=True):
        assert packed is not None
        assert packed.any()
        torch.testing.assert_close(packed, padded, rtol=1e-3, atol=1e-4)


def test_a_soft_prompt_is_refused_by_a_base_that_needs_the_token_beside_its_embedding(
    build_base: Callable[..., Base],
) -> None:
    with pytest.raises(BaseModelError, match="Gemma4"):
        compute_prompt_prefix(build_base("gemma4_text"), torch.randn(2, 32))
    assert compute_prompt_prefix(build_base("qwen3_5_text"), torch.randn(2, 32)).length == 2
