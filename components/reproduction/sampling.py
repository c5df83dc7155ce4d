"""Which examples an experiment uses: low-data samples, evenly spaced inputs, parts held out, quarters by length.

Pure: counts and numbers in, indices out. The same arguments give the same indices on every machine. Knows no example.

The low-data protocol (Li & Liang 2021, section 6.3): for each size several samples of the training pairs, each run with
several training seeds. Here the samples share no pair, and a smaller sample is the head of the larger one of its
number, so that a curve over sizes compares like with like. The order comes from the sample's number, never from the
training seed.
"""

import random
from collections.abc import Sequence

from components.errors import DataError

LARGEST_SAMPLE_SIZE = 500
"""The paper's largest low-data size: samples up to it stay the same whatever other sizes are asked for."""

_QUARTER_NAMES = ("shortest quarter", "second quarter", "third quarter", "longest quarter")


def draw_training_sample(total: int, size: int, sample: int, largest: int = LARGEST_SAMPLE_SIZE) -> list[int]:
    """Indices of low-data sample number `sample` (from 0) out of `total` training examples.

    Samples of different numbers are disjoint for all sizes up to `largest` (at least 500).

    Raises:
        DataError: `total` examples do not hold so many disjoint samples.
    """
    block = max(LARGEST_SAMPLE_SIZE, largest, size)
    start = sample * block
    if start + size > total:
        wanted = f"at least {start + size} training examples, for sample {sample + 1} of {size} beside the others"
        raise DataError(wanted, f"{total}", "ask for fewer --samples or smaller --sizes")
    return _shuffle_indices(total, "training")[start : start + size]


def draw_validation_sample(total: int, size: int, sample: int) -> list[int]:
    """Indices of the validation examples that go with a low-data sample: 30 % of its size, at least one."""
    wanted = max(1, round(0.3 * size))
    return _shuffle_indices(total, f"validation/{sample}")[:wanted]


def split_held_out(total: int, share: float = 0.2) -> tuple[list[int], list[int]]:
    """Indices to train on and to validate on, where a data set has one split for both; both in rising order."""
    order = _shuffle_indices(total, "held out")
    out = max(1, round(share * total))
    return sorted(order[out:]), sorted(order[:out])


def pick_evenly_spaced(total: int, wanted: int | None) -> list[int]:
    """At most `wanted` of `total` indices, evenly spaced from the first on; all of them for None."""
    if wanted is None or wanted >= total:
        return list(range(total))
    return [number * total // wanted for number in range(wanted)]


def assign_length_quarters(lengths: Sequence[int]) -> list[str]:
    """The quarter that each input's length falls in, by rank; equal lengths keep their order."""
    ranked = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    names = [""] * len(lengths)
    for rank, index in enumerate(ranked):
        names[index] = _QUARTER_NAMES[4 * rank // len(lengths)]
    return names


def _shuffle_indices(total: int, purpose: str) -> list[int]:
    order = list(range(total))
    random.Random(f"prefixfleet/{purpose}").shuffle(order)  # noqa: S311 - an order, no secret
    return order
