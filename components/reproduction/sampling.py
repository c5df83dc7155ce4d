"""Select the examples of an experiment: low-data samples, evenly spaced inputs, held-out parts, quarters by length.

Functions from counts to indices; the same arguments give the same indices on every machine. Knows no examples.

The low-data protocol (Li & Liang 2021, section 6.3): for each size there are several samples of the training pairs, and
several training seeds for each sample. Here the samples are disjoint, and a smaller sample is the beginning of the
larger one with the same number, so that a curve over sizes compares the same data. The order depends on the sample's
number and not on the training seed.
"""

import random
from collections.abc import Sequence

from components.errors import DataError

LARGEST_SAMPLE_SIZE = 500
"""The paper's largest low-data size; samples up to this size do not depend on the other sizes of a request."""

_QUARTER_NAMES = ("shortest quarter", "second quarter", "third quarter", "longest quarter")


def draw_training_sample(total: int, size: int, sample: int, largest: int = LARGEST_SAMPLE_SIZE) -> list[int]:
    """Return the indices of low-data sample number `sample` (from 0) of `total` training examples.

    Samples of different numbers are disjoint for all sizes up to `largest` (at least 500).

    Raises:
        DataError: `total` examples are too few for that many disjoint samples.
    """
    block = max(LARGEST_SAMPLE_SIZE, largest, size)
    start = sample * block
    if start + size > total:
        wanted = f"at least {start + size} training examples for {sample + 1} disjoint samples of {size}"
        raise DataError(wanted, f"{total}", "pass fewer --samples or smaller --sizes")
    return _shuffle_indices(total, "training")[start : start + size]


def draw_validation_sample(total: int, size: int, sample: int) -> list[int]:
    """Return the indices of validation examples for low-data sample number `sample` (from 0).

    Their number is 30 % of `size`, the number of training examples, and at least one.
    """
    count = max(1, round(0.3 * size))
    return _shuffle_indices(total, f"validation/{sample}")[:count]


def split_held_out(total: int, share: float = 0.2) -> tuple[list[int], list[int]]:
    """Split one set of examples: return sorted indices for training and for validation."""
    order = _shuffle_indices(total, "held out")
    held_out = max(1, round(share * total))
    return sorted(order[held_out:]), sorted(order[:held_out])


def pick_evenly_spaced(total: int, count: int | None) -> list[int]:
    """Return at most `count` of `total` indices, evenly spaced from the first on; all of them if `count` is None."""
    if count is None or count >= total:
        return list(range(total))
    return [number * total // count for number in range(count)]


def assign_length_quarters(lengths: Sequence[int]) -> list[str]:
    """Return the quarter of each input by the rank of its length; equal lengths keep their order."""
    ranked = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    names = [""] * len(lengths)
    for rank, index in enumerate(ranked):
        names[index] = _QUARTER_NAMES[4 * rank // len(lengths)]
    return names


def _shuffle_indices(total: int, purpose: str) -> list[int]:
    order = list(range(total))
    random.Random(f"prefixfleet/{purpose}").shuffle(order)  # noqa: S311 - an order, not a secret
    return order
