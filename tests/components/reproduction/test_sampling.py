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


def test_a_sample_is_reproducible() -> None:
    assert draw_training_sample(42_061, 50, 0)[:5] == [22620, 6498, 11747, 20949, 6423]
    assert draw_training_sample(42_061, 50, 3) == draw_training_sample(42_061, 50, 3)


def test_samples_of_different_numbers_are_disjoint() -> None:
    for size in SIZES:
        samples = [set(draw_training_sample(2_500, size, number)) for number in range(5)]
        assert all(len(sample) == size for sample in samples)
        assert not any(one & other for one, other in combinations(samples, 2))


def test_a_smaller_sample_is_the_beginning_of_the_larger_one() -> None:
    largest = draw_training_sample(2_500, 500, 2)
    assert all(draw_training_sample(2_500, size, 2) == largest[:size] for size in SIZES)


def test_sizes_up_to_the_papers_largest_do_not_change_a_sample() -> None:
    assert draw_training_sample(9_000, 50, 4, largest=50) == draw_training_sample(9_000, 50, 4, largest=500)
    assert draw_training_sample(9_000, 50, 4, largest=1_000) != draw_training_sample(9_000, 50, 4, largest=500)


def test_too_few_data_for_the_samples_are_refused() -> None:
    with pytest.raises(DataError) as error:
        draw_training_sample(2_000, 500, 4)
    assert "at least 2500" in error.value.wanted
    assert "--samples" in error.value.fix


def test_a_samples_validation_is_30_percent_of_its_size() -> None:
    assert [len(draw_validation_sample(547, size, 0)) for size in SIZES] == [15, 30, 60, 150]
    assert len(draw_validation_sample(4, 500, 0)) == 4
    assert draw_validation_sample(547, 50, 0) != draw_validation_sample(547, 50, 1)


def test_held_out_parts_are_disjoint_and_complete() -> None:
    kept, held_out = split_held_out(500)
    assert (len(kept), len(held_out)) == (400, 100)
    assert sorted(kept + held_out) == list(range(500))


@pytest.mark.parametrize(
    ("total", "count", "indices"),
    [(10, None, list(range(10))), (10, 5, [0, 2, 4, 6, 8]), (3, 9, [0, 1, 2]), (7, 2, [0, 3]), (5, 1, [0])],
)
def test_inputs_are_evenly_spaced(total: int, count: int | None, indices: list[int]) -> None:
    assert pick_evenly_spaced(total, count) == indices


def test_quarters_have_the_same_size_even_if_lengths_are_equal() -> None:
    names = assign_length_quarters([5, 1, 9, 5, 5, 5, 7, 5])
    assert sorted(names.count(name) for name in set(names)) == [2, 2, 2, 2]
    assert names[1] == "shortest quarter"
    assert names[2] == names[6] == "longest quarter"
