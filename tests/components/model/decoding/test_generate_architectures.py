"""Decoding on every architecture, against loops without a cache and against transformers' `generate`."""

from collections.abc import Callable
from typing import Any

import architectures
import pytest
import torch

from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.prefix.attach import attach_prefixes, compute_positions
from components.model.prefix.prefix import Prefix

PAD, EOS = 1, 0
LENGTHS = (5, None, 2, 7, 0, 5)
NEW, FEW = 10, 6


@pytest.fixture(scope="module", params=[*architectures.DECODERS, *architectures.PAIRS])
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 3)


@pytest.fixture(scope="module")
def rows(base: Base, values_for: Callable[..., Prefix]) -> list[Prefix | None]:
    return [None if length is None else values_for(base.model, length, length) for length in LENGTHS]


def cut_at_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(EOS)] if EOS in ids else ids


def generate_by_transformers(
    base: Base, rows: Any, sources: list[list[int]], decoding: Decoding, side: str, cache: bool
) -> Any:
    """One batch through transformers' `generate` with prefixes attached."""
    longest = max(map(len, sources))
    padding = [[PAD] * (longest - len(ids)) for ids in sources]
    ids = torch.tensor(
        [(pad + one if side == "left" else one + pad) for pad, one in zip(padding, sources, strict=True)]
    )
    masks = [([0] * len(pad), [1] * len(one)) for pad, one in zip(padding, sources, strict=True)]
    mask = torch.tensor([(pad + one if side == "left" else one + pad) for pad, one in masks])
    more: dict[str, Any] = {"attention_mask": mask}
    if not base.is_encoder_decoder:
        more["position_ids"] = compute_positions(mask, [length or 0 for length in LENGTHS])
    if decoding.num_beams > 1:
        more |= {"length_penalty": decoding.length_penalty, "early_stopping": False}
    options = {"num_beams": decoding.num_beams, "max_new_tokens": decoding.max_new_tokens, "do_sample": False}
    with attach_prefixes(base.model, rows):
        output = base.model.generate(ids, **options, **more, use_cache=cache, pad_token_id=PAD, eos_token_id=EOS)
    return [cut_at_end(row) for row in output[:, 1 if base.is_encoder_decoder else longest :].tolist()]


def test_greedy_output_equals_that_of_a_loop_without_a_cache(
    base: Base, rows: Any, greedy: Any, some_sources: Any
) -> None:
    sources = some_sources(len(rows), 5)
    outputs = generate_each(base, rows, sources, Decoding(max_new_tokens=NEW), 4)
    assert outputs == [greedy(base, row, source, NEW) for row, source in zip(rows, sources, strict=True)]


@pytest.mark.parametrize(
    ("decoding", "cache"),
    [(Decoding(1, NEW), True), (Decoding(3, NEW), False), (Decoding(4, NEW, length_penalty=2.0), True)],
    ids=["1, cache", "3, no cache", "4, cache"],
)
def test_outputs_equal_those_of_transformers_with_attached_prefixes(
    base: Base, rows: Any, some_sources: Any, decoding: Decoding, cache: bool
) -> None:
    sources = some_sources(len(rows), 6)
    expected = generate_by_transformers(base, rows, sources, decoding, "left", cache)
    assert generate_each(base, rows, sources, decoding, 3) == expected
    if base.is_encoder_decoder:
        assert generate_by_transformers(base, rows, sources, decoding, "right", cache) == expected


@pytest.mark.parametrize(
    ("decoding", "forced"),
    [
        (Decoding(1, 4), [7, 5]),
        (Decoding(1, 1), EOS),
        (Decoding(3, 4), [EOS]),
        (Decoding(4, 5, length_penalty=2.0), [7, 5]),
    ],
    ids=str,
)
def test_a_forced_end_token_is_that_of_transformers(
    base: Base, rows: Any, some_sources: Any, decoding: Decoding, forced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = some_sources(len(rows), 6)
    free = generate_each(base, rows, sources, decoding, 3)
    monkeypatch.setattr(base.model.generation_config, "forced_eos_token_id", forced)
    outputs = generate_each(base, rows, sources, decoding, 3)
    assert outputs == generate_by_transformers(base, rows, sources, decoding, "left", cache=True)
    assert outputs != free
    last = [ids[-1] for ids in outputs if len(ids) == decoding.max_new_tokens]
    assert set(last) <= ({5, 7} if forced == [7, 5] else set())


@pytest.mark.parametrize("beams", [1, 3])
def test_other_rows_and_the_batch_size_do_not_matter(base: Base, rows: Any, some_sources: Any, beams: int) -> None:
    sources, decoding = some_sources(len(rows), 7), Decoding(beams, NEW)
    alone = [generate_each(base, [row], [ids], decoding, 1)[0] for row, ids in zip(rows, sources, strict=True)]
    assert generate_each(base, rows, sources, decoding, 6) == alone
    assert generate_each(base, rows[::-1], sources[::-1], decoding, 4) == alone[::-1]
    bare = generate_each(base, [None] * len(rows), sources, decoding, 6)
    assert [own == plain for own, plain in zip(alone, bare, strict=True)].count(True) < len(rows)
    assert (alone[1], alone[4]) == (bare[1], bare[4])


@pytest.mark.parametrize("kind", architectures.RECENT)
def test_a_text_beyond_windows_is_that_of_transformers_and_of_a_loop_without_a_cache(
    kind: str, build_base: Callable[..., Base], values_for: Callable[..., Prefix], greedy: Any, some_sources: Any
) -> None:
    base = build_base(kind, 3)
    rows = [None if length is None else values_for(base.model, length, length) for length in LENGTHS]
    sources = [ids * 2 for ids in some_sources(len(rows), 6)]
    alone = [greedy(base, row, source, FEW) for row, source in zip(rows, sources, strict=True)]
    assert generate_each(base, rows, sources, Decoding(max_new_tokens=FEW), 4) == alone
    beams = Decoding(3, FEW, length_penalty=2.0)
    outputs = generate_each(base, rows, sources, beams, 3)
    assert outputs == generate_by_transformers(base, rows, sources, beams, "left", cache=True)
    assert outputs != alone
