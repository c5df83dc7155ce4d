"""Low-data samples, held-out parts, evenly spaced inputs and quarters."""

from itertools import combinations

import pytest

from components.errors import DataError
from components.reproduction.sampling import (
    assign_length_quarters,
    draw_training_sample,
    draw_validation_sample,
    pick_evenly_spaced,
    split_held_out,
)

SIZES = (50, 100, 200, 500)


def test_a_sample_is_the_same_every_time_and_on_every_machine() -> None:
    assert draw_training_sample(42_061, 50, 0)[:5] == [22620, 6498, 11747, 20949, 6423]
    assert draw_training_sample(42_061, 50, 3) == draw_training_sample(42_061, 50, 3)


def test_samples_of_different_numbers_share_nothing() -> None:
    for size in SIZES:
        samples = [set(draw_training_sample(2_500, size, number)) for number in range(5)]
        assert all(len(sample) == size for sample in samples)
        assert not any(one & other for one, other in combinations(samples, 2))


def test_a_smaller_sample_is_the_head_of_the_larger_one() -> None:
    largest = draw_training_sample(2_500, 500, 2)
    assert all(draw_training_sample(2_500, size, 2) == largest[:size] for size in SIZES)


def test_other_sizes_up_to_the_papers_largest_change_no_sample() -> None:
    assert draw_training_sample(9_000, 50, 4, largest=50) == draw_training_sample(9_000, 50, 4, largest=500)
    assert draw_training_sample(9_000, 50, 4, largest=1_000) != draw_training_sample(9_000, 50, 4, largest=500)


def test_too_little_data_for_so_many_samples_is_told() -> None:
    with pytest.raises(DataError) as told:
        draw_training_sample(2_000, 500, 4)
    assert "at least 2500" in told.value.wanted
    assert "--samples" in told.value.fix


def test_a_samples_validation_is_30_percent_of_its_size() -> None:
    assert [len(draw_validation_sample(547, size, 0)) for size in SIZES] == [15, 30, 60, 150]
    assert len(draw_validation_sample(4, 500, 0)) == 4
    assert draw_validation_sample(547, 50, 0) != draw_validation_sample(547, 50, 1)


def test_held_out_parts_share_nothing_and_lose_nothing() -> None:
    kept, out = split_held_out(500)
    assert (len(kept), len(out)) == (400, 100)
    assert sorted(kept + out) == list(range(500))


@pytest.mark.parametrize(
    ("total", "wanted", "chosen"),
    [(10, None, list(range(10))), (10, 5, [0, 2, 4, 6, 8]), (3, 9, [0, 1, 2]), (7, 2, [0, 3]), (5, 1, [0])],
)
def test_inputs_are_evenly_spaced(total: int, wanted: int | None, chosen: list[int]) -> None:
    assert pick_evenly_spaced(total, wanted) == chosen


def test_quarters_are_of_one_size_even_where_lengths_are_equal() -> None:
    names = assign_length_quarters([5, 1, 9, 5, 5, 5, 7, 5])
    assert sorted(names.count(name) for name in set(names)) == [2, 2, 2, 2]
    assert names[1] == "shortest quarter"
    assert names[2] == names[6] == "longest quarter"
