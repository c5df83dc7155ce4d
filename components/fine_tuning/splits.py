"""Divides the examples of a job's files into the splits of its tenant. Knows no file.

Examples with the same input stay in one split. A validation file is halved into validation and test. Without one, a
tenant that has data keeps its validation and test splits, and of a new tenant's inputs two in ten are held out.
"""

from collections.abc import Sequence

from components.data.schema import Example
from components.errors import DataError

MIN_INPUTS = 10
"""Different inputs that a training file must have, as OpenAI's API asks for as many examples."""
_MIN_VALIDATION_INPUTS = 2


def divide(
    training: Sequence[Example], validation: Sequence[Example] | None, *, has_data: bool
) -> dict[str, list[Example]]:
    """Return split -> examples for a drop.

    Raises:
        DataError: there are too few different inputs.
    """
    require_inputs(_count_inputs(training), None if validation is None else _count_inputs(validation))
    if validation is not None:
        return {"train": list(training), **_deal(validation, ["validation", "test"])}
    if has_data:
        return {"train": list(training)}
    return _deal(training, ["train"] * 8 + ["validation", "test"])


def require_inputs(training: int, validation: int | None) -> None:
    """Raise DataError if a file has too few different inputs; `validation`: None if there is no such file."""
    if training < MIN_INPUTS:
        wanted = f"a training file with at least {MIN_INPUTS} different inputs"
        raise DataError(wanted, str(training), "add examples")
    if validation is not None and validation < _MIN_VALIDATION_INPUTS:
        wanted = f"a validation file with at least {_MIN_VALIDATION_INPUTS} different inputs"
        raise DataError(wanted, str(validation), "add examples")


def _count_inputs(examples: Sequence[Example]) -> int:
    return len({example.source for example in examples})


def _deal(examples: Sequence[Example], turns: Sequence[str]) -> dict[str, list[Example]]:
    """Deal the examples out by their inputs: each new input goes to the split whose turn it is."""
    split_by_source: dict[str, str] = {}
    dealt: dict[str, list[Example]] = {split: [] for split in turns}
    for example in examples:
        split = split_by_source.setdefault(example.source, turns[len(split_by_source) % len(turns)])
        dealt[split].append(example)
    return dealt
