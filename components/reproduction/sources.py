"""Read the published data set of an experiment, recognise its kind, and add a validation split if it has none.

Knows the importers; does not know methods, bases or scores.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example, format_line
from components.errors import DataError
from components.reproduction.presets import Task
from components.reproduction.sampling import (
    draw_training_sample,
    draw_validation_sample,
    pick_evenly_spaced,
    split_held_out,
)

DatasetKind = Literal["e2e", "webnlg", "dart", "dialogsum", "xsum"]

TASK_BY_DATASET: dict[DatasetKind, Task] = {
    "e2e": "e2e",
    "webnlg": "webnlg",
    "dart": "dart",
    "dialogsum": "summarisation",
    "xsum": "summarisation",
}
_IMPORT_LIMITS = DataConfig(max_source_chars=10**6, max_reference_chars=10**5, max_references=10**3, max_rejects=1.0)


@dataclass(frozen=True, slots=True)
class PublishedDataset:
    """A data set with its three splits."""

    kind: DatasetKind
    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    """Changes that were made to the published data."""

    @property
    def task(self) -> Task:
        """The task of the paper that it belongs to."""
        return TASK_BY_DATASET[self.kind]

    @property
    def training_pair_count(self) -> int:
        """Number of training pairs: every reference is one."""
        return count_training_pairs(self.train)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all examples as lines, split by split."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(f"{len(split)}\n".encode())
            for example in split:
                digest.update(format_line(example).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()

    def select_training(
        self, size: int | None, sample: int | None, largest: int | None
    ) -> tuple[list[Example], list[Example]]:
        """Return the examples to train on and those to validate on: all of them, or a low-data sample.

        Raises:
            DataError: the data are too few for that many disjoint samples.
        """
        if size is None or sample is None:
            return list(self.train), list(self.validation)
        training = draw_training_sample(len(self.train), size, sample, largest or size)
        validation = draw_validation_sample(len(self.validation), size, sample)
        return [self.train[index] for index in training], [self.validation[index] for index in validation]

    def select_test_inputs(self, inputs: int | None) -> list[Example]:
        """Return the test inputs to score: `inputs` evenly spaced ones, or all of them for None."""
        return [self.test[index] for index in pick_evenly_spaced(len(self.test), inputs)]


def count_training_pairs(examples: Sequence[Example]) -> int:
    """Return the number of references of all examples."""
    return sum(len(example.references) for example in examples)


def read_published_dataset(path: str, kinds: Sequence[DatasetKind]) -> PublishedDataset:
    """Read the data set at `path`, which must be of one of the given kinds.

    If the data set has no training or no validation split, a fifth of the other one is held out for validation; the
    notes say so.

    Raises:
        DataError: nothing is at `path`, the data set is of another kind, or it lacks a test split or training data.
    """
    imported, problems = _try_importers(path, kinds)
    if imported is None:
        others = [kind for kind in TASK_BY_DATASET if kind not in kinds] if Path(path).exists() else []
        other, _ = _try_importers(path, others)
        problem = problems[0] if path in problems[0] else f"{path}: {problems[0]}"
        got = f"{other[0]} data at {path}" if other else problem
        raise DataError(f"a data set of {' or '.join(kinds)}", got, "pass another --data, or another experiment")
    kind, splits = imported
    train, validation, notes = _complete_splits(path, splits)
    if not splits.get("test"):
        raise DataError(
            "a test split", f"{path} with {', '.join(splits)}", "add the data set's test file to this folder"
        )
    test = splits["test"]
    return PublishedDataset(kind, Path(path).name, tuple(train), tuple(validation), tuple(test), tuple(notes))


def _try_importers(
    path: str, kinds: Sequence[DatasetKind]
) -> tuple[tuple[DatasetKind, dict[str, list[Example]]] | None, list[str]]:
    problems = []
    for kind in kinds:
        try:
            return (kind, import_dataset(kind, path, _IMPORT_LIMITS)), []
        except DataError as problem:
            problems.append(problem.got)
    return None, problems


def _complete_splits(path: str, splits: dict[str, list[Example]]) -> tuple[list[Example], list[Example], list[str]]:
    train, validation = splits.get("train", []), splits.get("validation", [])
    if train and validation:
        return train, validation, []
    whole, name = (train, "training") if train else (validation, "validation")
    if len(whole) < 2:
        raise DataError("a training split", f"{path} with {', '.join(splits)}", "add its training file to this folder")
    kept, held_out = split_held_out(len(whole))
    note = (
        f"The data have no {'validation' if train else 'training'} split here: of the {len(whole)} examples of the "
        f"{name} split {len(kept)} are used for training and {len(held_out)} for validation."
    )
    return [whole[index] for index in kept], [whole[index] for index in held_out], [note]
