"""The peak of a computation is counted with what is freed in between; that of long rows follows from short ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peak_memory import measure_peak_bytes as measure_with_profiler

from components.model.base.peak_bytes import RowCost, measure_peak_bytes


def test_what_is_freed_does_not_count() -> None:
    before = torch.zeros(1000)

    def work() -> None:
        for _ in range(3):
            before + 1
        kept = before + 1
        torch.cat([kept, kept])

    assert measure_peak_bytes(work) == 12_000
    assert measure_peak_bytes(lambda: before.view(10, 100)[3]) == 0
    assert measure_peak_bytes(lambda: before.add_(1)) == 0


@pytest.mark.parametrize("kind", ["gpt2", "gpt_oss", "bart", "qwen3_5_text"])
def test_the_peak_of_a_forward_and_of_a_backward_is_that_of_the_allocator(
    kind: str, build_model: Callable[..., Any]
) -> None:
    model = build_model(kind)
    weight = model.get_input_embeddings().weight
    ids = torch.arange(60).view(3, 20)
    inputs = {"input_ids": ids, "use_cache": False, **({"decoder_input_ids": ids} if kind == "bart" else {})}

    def work() -> None:
        weight.requires_grad_(True)
        model(**inputs).logits.sum().backward()
        weight.requires_grad_(False).grad = None

    work()
    assert measure_peak_bytes(work) == pytest.approx(measure_with_profiler(work), rel=0.15)


def test_a_cost_is_fitted_and_extrapolated() -> None:
    cost = RowCost.fit({length: 70 + 20 * length + 3 * length**2 for length in (8, 24, 56)})
    assert (cost.token_bytes, cost.pair_bytes) == (pytest.approx(20), pytest.approx(3))
    assert cost.count_bytes(200, 100) == 200 * 20 + 200 * 100 * 3
    assert RowCost.fit({8: 100, 16: 100, 24: 100}).count_bytes(1000, 1000) == pytest.approx(0, abs=1)
