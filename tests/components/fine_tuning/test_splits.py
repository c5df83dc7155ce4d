from collections import Counter

import pytest

from components.data.schema import Example
from components.errors import DataError
from components.fine_tuning.splits import divide


def examples(count, each=1):
    return [Example(f"input {number}", (f"answer {turn}",)) for number in range(count) for turn in range(each)]


def count_inputs(splits):
    return {split: len({one.source for one in own}) for split, own in splits.items()}


def test_two_in_ten_inputs_of_a_new_tenant_are_held_out_each_in_one_split():
    splits = divide(examples(20, each=3), None, has_data=False)
    assert count_inputs(splits) == {"train": 16, "validation": 2, "test": 2}
    owners = Counter(source for own in splits.values() for source in {one.source for one in own})
    assert set(owners.values()) == {1}
    assert sum(map(len, splits.values())) == 60


def test_a_tenant_with_data_keeps_its_other_splits():
    assert divide(examples(10), None, has_data=True) == {"train": examples(10)}


def test_a_validation_file_is_halved():
    splits = divide(examples(10), examples(5), has_data=False)
    assert count_inputs(splits) == {"train": 10, "validation": 3, "test": 2}


@pytest.mark.parametrize(
    ("training", "validation", "words"),
    [
        (examples(9, each=2), None, "at least 10 different"),
        (examples(10), examples(1, each=4), "at least 2 different"),
    ],
)
def test_too_few_inputs_are_refused(training, validation, words):
    with pytest.raises(DataError, match=words):
        divide(training, validation, has_data=False)
