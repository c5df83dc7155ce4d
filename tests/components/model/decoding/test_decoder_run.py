"""Runs of decoder-only models and of guidance, against forwards without a cache."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.decoding.decoder_run import DecoderOnlyRun, GuidedRun

CLOSE = {"rtol": 0.0, "atol": 1e-4}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@torch.no_grad()
def test_logits_of_every_step_equal_those_without_a_cache(
    build_base: Callable[..., Base], values_for: Any, some_sources: Any, next_logits: Any, kind: str
) -> None:
    base = build_base(kind, 3)
    rows, sources = [values_for(base.model, 4), None, values_for(base.model, 2, 1)], some_sources(3, 2)
    run = DecoderOnlyRun(base, rows, sources, 1)

    def expected(*texts: tuple[int, list[int]]) -> torch.Tensor:
        return torch.stack([next_logits(base, rows[row], sources[row], new) for row, new in texts])

    torch.testing.assert_close(run.logits_BV, expected((0, []), (1, []), (2, [])), **CLOSE)
    logits = run.step(torch.tensor([[5], [6], [7]]))
    torch.testing.assert_close(logits, expected((0, [5]), (1, [6]), (2, [7])), **CLOSE)
    run.keep(torch.tensor([2, 0]))
    torch.testing.assert_close(run.step(torch.tensor([[8], [9]])), expected((2, [7, 8]), (0, [5, 9])), **CLOSE)
    joining = DecoderOnlyRun(base, [rows[1]], [sources[1]], 1)
    joining.step(torch.tensor([[4]]))
    run.join(joining)
    logits = run.step(torch.tensor([[3], [3], [3]]))
    torch.testing.assert_close(logits, expected((2, [7, 8, 3]), (0, [5, 9, 3]), (1, [4, 3])), **CLOSE)


@torch.no_grad()
def test_beams_of_a_row_continue_from_their_parents(
    build_base: Callable[..., Base], some_sources: Any, next_logits: Any
) -> None:
    base, (source,) = build_base("llama", 3), some_sources(1, 2)
    run = DecoderOnlyRun(base, [None], [source], 3)
    run.step(torch.tensor([[5, 6, 7]]))
    run.reorder(torch.tensor([[2, 0, 2]]))
    logits = run.step(torch.tensor([[8, 9, 10]]))
    expected = torch.stack([next_logits(base, None, source, new) for new in ([7, 8], [5, 9], [7, 10])])
    torch.testing.assert_close(logits, expected, **CLOSE)


@torch.no_grad()
def test_a_guided_run_mixes_the_logits_of_two_runs_and_suspends_the_delta_for_one(
    build_base: Callable[..., Base], values_for: Any, some_sources: Any, next_logits: Any
) -> None:
    base, (source,), suspended = build_base("gpt2", 3), some_sources(1, 2), 0
    prefix = values_for(base.model, 4)

    def suspend() -> Any:
        nonlocal suspended
        suspended += 1
        return nullcontext()

    own = DecoderOnlyRun(base, [prefix], [source], 1)
    run = GuidedRun(own, lambda: DecoderOnlyRun(base, [None], [source], 1), 2.0, suspend)
    for new, logits in (([], run.logits_BV), ([5], run.step(torch.tensor([[5]])))):
        with_delta, bare = (next_logits(base, row, source, new) for row in (prefix, None))
        torch.testing.assert_close(logits[0], bare + 2.0 * (with_delta - bare), **CLOSE)
    assert suspended == 2


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart"])
def test_the_output_layer_gets_contiguous_inputs(build_base: Callable[..., Base], some_sources: Any, kind: str) -> None:
    """Otherwise torch copies the layer's weights for every row of a prefill."""
    base, contiguous = build_base(kind, 3), list[bool]()
    handle = base.model.get_output_embeddings().register_forward_hook(
        lambda _, inputs, __: contiguous.append(inputs[0].is_contiguous())
    )
    try:
        generate_each(base, [None] * 3, some_sources(3, 1), Decoding(2, 5), 3)
    finally:
        handle.remove()
    assert len(contiguous) > 1
    assert all(contiguous)
