"""Means and intervals over seeds and low-data samples."""

from collections.abc import Callable

import pytest

from components.config import TrainConfig
from components.reproduction.cells import PROTOCOL, Cell, CellResult, DecodingSettings
from components.reproduction.gather import compute_difference, compute_student_interval, gather_lines
from components.reproduction.plan import TablePoint


def cell(method: str = "prefix", seed: int = 0, sample: int | None = None, suite: str = "e2e") -> Cell:
    return Cell(
        protocol=PROTOCOL,
        base_digest="b",
        data_digest="d",
        train=TrainConfig(seed=seed, method=method),
        size=None if sample is None else 50,
        sample=sample,
        decoding=DecodingSettings(num_beams=5, max_new_tokens=9),
        inputs=None,
        max_source_tokens=None,
        suite=suite,
    )


def test_students_interval_is_that_of_the_textbook() -> None:
    # 5 values of mean 10 and standard deviation 1.5811: 10 +- 2.776 x 0.7071.
    low, high = compute_student_interval([8, 9, 10, 11, 12])
    assert (low, high) == (pytest.approx(8.0371, abs=1e-3), pytest.approx(11.9629, abs=1e-3))


def test_runs_are_averaged_with_an_interval_over_seeds(make_result: Callable[..., CellResult]) -> None:
    cells = tuple(cell(seed=seed) for seed in range(3))
    results = {one.key: make_result(one, bleu=60.0 + one.seed) for one in cells}
    (line,) = gather_lines("table1", "e2e", [TablePoint("prefix", "prefix", None, cells)], results)
    score = line.find_score("bleu")
    assert (score.mean, score.over, score.runs, score.spread) == (61.0, "seeds", 3, 1.0)
    assert score.low == pytest.approx(61 - 4.303 / 3**0.5, abs=1e-3)
    assert score.published == 69.7


def test_e2es_meteor_is_in_the_papers_unit(make_result: Callable[..., CellResult]) -> None:
    results = {cell().key: make_result(cell(), meteor=0.44, nist=8.6)}
    (line,) = gather_lines("table1", "e2e", [TablePoint("full", "full", None, (cell(),))], results)
    assert line.find_score("meteor").mean == pytest.approx(44.0)
    assert line.find_score("meteor").published == 46.2
    assert line.find_score("nist").mean == 8.6


def test_seeds_of_a_sample_are_averaged_before_the_interval_over_samples(
    make_result: Callable[..., CellResult],
) -> None:
    cells = tuple(cell(seed=seed, sample=sample) for sample in range(3) for seed in range(2))
    results = {one.key: make_result(one, bleu=10.0 * one.sample + one.seed) for one in cells}
    (line,) = gather_lines("lowdata", "e2e", [TablePoint("prefix", "prefix", 50, cells)], results)
    score = line.find_score("bleu")
    assert (score.mean, score.over, score.runs, score.spread) == (10.5, "samples", 6, 10.0)


def test_a_single_run_has_the_interval_over_inputs_or_none(make_result: Callable[..., CellResult]) -> None:
    plain = make_result(cell(), bleu=50.0)
    bounded = plain.model_copy(update={"values": (plain.values[0].model_copy(update={"low": 48.0, "high": 52.0}),)})
    point = TablePoint("prefix", "prefix", None, (cell(),))
    without = gather_lines("table1", "e2e", [point], {cell().key: plain})[0].find_score("bleu")
    with_interval = gather_lines("table1", "e2e", [point], {cell().key: bounded})[0].find_score("bleu")
    assert (without.over, without.low) == ("none", None)
    assert (with_interval.over, with_interval.low, with_interval.high) == ("inputs", 48.0, 52.0)


def test_a_difference_is_computed_run_by_run(make_result: Callable[..., CellResult]) -> None:
    points, results = [], {}
    for method, gain in (("prefix", 3.0), ("full", 0.0)):
        cells = tuple(cell(method, seed, sample) for sample in range(2) for seed in range(2))
        points.append(TablePoint(method, method, 50, cells))
        results |= {one.key: make_result(one, bleu=40.0 + 20 * one.sample + one.seed + gain) for one in cells}
    del results[points[1].cells[3].key]
    lines = gather_lines("lowdata", "e2e", points, results)
    score = compute_difference(lines[0], lines[1], results, "bleu")
    assert (score.mean, score.spread, score.runs) == (3.0, 0.0, 3)


def test_points_without_results_are_left_out() -> None:
    assert gather_lines("table1", "e2e", [TablePoint("prefix", "prefix", None, (cell(),))], {}) == []
