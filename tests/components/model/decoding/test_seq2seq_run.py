"""Runs of encoder-decoder models under attached prefixes, against forwards without a cache."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.model.base.load import Base
from components.model.decoding.seq2seq_run import Seq2SeqRun
from components.model.prefix.attach import attach_prefixes

CLOSE = {"rtol": 0.0, "atol": 1e-4}


@pytest.mark.parametrize("kind", ["bart", "t5"])
@torch.no_grad()
def test_logits_of_every_step_equal_those_without_a_cache(
    build_base: Callable[..., Base], values_for: Any, some_sources: Any, next_logits: Any, kind: str
) -> None:
    base = build_base(kind, 3)
    rows, sources = [values_for(base.model, 4), None, values_for(base.model, 2, 1)], some_sources(3, 2)

    def expected(*texts: tuple[int, list[int]]) -> torch.Tensor:
        return torch.stack([next_logits(base, rows[row], sources[row], new) for row, new in texts])

    first = expected((0, []), (1, []), (2, []))
    second = expected((0, [5]), (0, [6]), (1, [7]), (1, [8]), (2, [9]), (2, [10]))
    third = expected((2, [10, 3]), (2, [9, 4]), (0, [5, 5]), (0, [5, 6]))
    with attach_prefixes(base.model, rows) as attachment:
        run = Seq2SeqRun(base, attachment, sources, 2)
        torch.testing.assert_close(run.logits_BV, first, **CLOSE)
        torch.testing.assert_close(run.step(torch.tensor([[5, 6], [7, 8], [9, 10]])), second, **CLOSE)
        run.keep(torch.tensor([2, 0]))
        run.reorder(torch.tensor([[1, 0], [0, 0]]))
        torch.testing.assert_close(run.step(torch.tensor([[3, 4], [5, 6]])), third, **CLOSE)


@torch.no_grad()
def test_a_forced_first_token_is_the_only_possible_one(
    build_base: Callable[..., Base], some_sources: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_base("bart", 3)
    monkeypatch.setattr(base.model.generation_config, "forced_bos_token_id", 9)
    run = Seq2SeqRun(base, None, some_sources(2, 1), 1)
    assert run.logits_BV.argmax(dim=1).tolist() == [9, 9]
    assert run.logits_BV.softmax(dim=1)[:, 9].tolist() == [1.0, 1.0]
