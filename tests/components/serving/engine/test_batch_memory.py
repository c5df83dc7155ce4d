"""If memory runs out, rows are computed in smaller parts, or those that hold the most end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from memory_limit import run_program

from components.config import TrainConfig
from components.model.base.shapes import INFIX
from components.model.prefix.prefix import Prefix
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.kv_cache import KVCache
from components.serving.interface import BusyError, GenerationRequest

SHORT = range(20, 51)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "seed": 4}, {"guidance": 1.6}], ids=str)
def test_a_step_that_is_too_large_is_computed_in_parts(settings: Any, check_computed_in_parts: Any) -> None:
    check_computed_in_parts(lambda kwargs: kwargs["input_ids"].numel() > 20, settings)


def test_a_row_without_memory_for_its_infix_ends_alone(
    build_base: Any, make_tenants: Any, make_prefix: Any, answer_all: Any, sources: Any, monkeypatch: Any
) -> None:
    base = build_base("gpt2")
    infix, *others = [make_prefix(base, length, length) for length in (40, 2, 4)]
    configs = [TrainConfig(method="infix"), TrainConfig(), TrainConfig()]
    tenants = make_tenants(base, [Prefix.from_site(infix.stack_decoder_site(), INFIX), *others], configs)
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    write = KVCache.write_slots

    def write_short(self: KVCache, cache_index: int, slots_L2HPD: torch.Tensor) -> None:
        if slots_L2HPD.shape[3] == infix.length:
            raise MemoryError("out of memory for 2 blocks")
        write(self, cache_index, slots_L2HPD)

    monkeypatch.setattr(KVCache, "write_slots", write_short)
    first, *answers = answer_all(tenants, requests, rows=8)
    assert isinstance(first, BusyError)
    assert answers == [tenants.answer_alone(request) for request in requests[1:]]


@pytest.fixture(scope="module")
def limited() -> list[dict[str, Any]]:
    """The results of long and short rows in 12 MiB, and of one long row with many short ones; one process for both."""
    cases = [(12, 1500, 1400, 1300, 60, 50, 40), (1000, 900, *SHORT)]
    program = Path(__file__).with_name("limited_serving.py")
    results: list[dict[str, Any]] = run_program(program, *(",".join(map(str, case)) for case in cases))
    return results


@pytest.mark.slow
def test_the_rows_that_hold_the_most_memory_end_and_the_others_are_answered(limited: Any) -> None:
    rows = dict(limited[0]["rows"])
    long = [rows.pop(name) for name in ("1500", "1400", "1300")]
    assert rows == dict.fromkeys(["60", "50", "40"], True)
    errors = [one for one in long if one is not True]
    assert errors
    assert all("memory for one more row" in one for one in errors)


@pytest.mark.slow
def test_a_long_row_does_not_make_short_ones_take_more_memory(limited: Any) -> None:
    assert limited[1]["rows"] == dict.fromkeys(["900", *map(str, SHORT)], True)
    needed = sum(-(-(length + 4) // BLOCK_COLUMNS) for length in (900, *SHORT))
    assert limited[1]["blocks"] <= 1.25 * needed
