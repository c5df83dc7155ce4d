"""Decoding hybrids whose rows start from states of their own, with sources of different lengths in one batch."""

from collections.abc import Callable
from typing import Any

import architectures
import pytest
import torch
from tiny_models import add_states

from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix

NEW = 6


@pytest.fixture(scope="module", params=architectures.INITIAL_STATES)
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 3)


@pytest.fixture(scope="module")
def rows(base: Base, values_for: Callable[..., Prefix]) -> list[Prefix | None]:
    """Rows with slots and states, with one of both, and with none."""
    full = [add_states(base.model, values_for(base.model, length, length), seed=length) for length in (3, 0, 5, 2)]
    return [full[0], values_for(base.model, 2, 9), full[1], None, full[2], full[3]]


def test_mixed_rows_equal_a_loop_without_a_cache(base: Base, rows: Any, greedy: Any, some_sources: Any) -> None:
    sources = some_sources(len(rows), 5)
    assert len(set(map(len, sources))) > 3
    alone = [greedy(base, row, source, NEW) for row, source in zip(rows, sources, strict=True)]
    assert generate_each(base, rows, sources, Decoding(max_new_tokens=NEW), 6) == alone
    slots = [None if row is None else Prefix(row.slot_tensors) for row in rows]
    without = generate_each(base, slots, sources, Decoding(max_new_tokens=NEW), 6)
    assert without != alone
    assert (without[1], without[3]) == (alone[1], alone[3])


@pytest.mark.parametrize("decoding", [Decoding(3, NEW), Decoding(1, NEW, guidance=1.7)], ids=["beams", "guidance"])
def test_other_rows_and_the_batch_size_do_not_matter(
    base: Base, rows: Any, some_sources: Any, decoding: Decoding
) -> None:
    sources = some_sources(len(rows), 6)
    alone = [generate_each(base, [row], [ids], decoding, 1)[0] for row, ids in zip(rows, sources, strict=True)]
    assert generate_each(base, rows, sources, decoding, 6) == alone
    assert generate_each(base, rows[::-1], sources[::-1], decoding, 4) == alone[::-1]


def test_the_state_comes_after_padding_and_not_before_it(
    build_base: Callable[..., Base], values_for: Any, next_logits: Any
) -> None:
    """Padding before a row's first token would let a Mamba state decay."""
    base = build_base("falcon_h1", 3)
    delta = Delta(prefix=add_states(base.model, values_for(base.model, 1)))
    from components.model.decoding.attached_run import AttachedRun
    from components.model.decoding.run_kinds import attach_to_sources

    sources = [[5, 6, 0], list(range(4, 40)), [7, 0]]
    with torch.no_grad(), attach_to_sources(base, [delta] * 3, sources) as attachment:
        run = AttachedRun(base, attachment, sources, 1)
    for logits_V, source in zip(run.logits_BV, sources, strict=True):
        torch.testing.assert_close(logits_V, next_logits(base, delta, source, []), rtol=0.0, atol=5e-4)
