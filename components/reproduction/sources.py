"""The published data set of an experiment: read, told apart from the others, completed with a validation split.

Knows the importers and what each experiment takes. Does not know methods, bases or scores.
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
    """What was done to it that its publishers did not do."""

    @property
    def task(self) -> Task:
        """Which of the paper's tasks it is."""
        return TASK_BY_DATASET[self.kind]

    @property
    def training_pair_count(self) -> int:
        """Training pairs: every reference is one."""
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
        """What a run trains on and validates on: everything, or a low-data sample.

        Raises:
            DataError: the data do not hold so many disjoint samples.
        """
        if size is None or sample is None:
            return list(self.train), list(self.validation)
        chosen = draw_training_sample(len(self.train), size, sample, largest or size)
        checks = draw_validation_sample(len(self.validation), size, sample)
        return [self.train[index] for index in chosen], [self.validation[index] for index in checks]

    def select_test_inputs(self, inputs: int | None) -> list[Example]:
        """The test inputs that a run is scored on."""
        return [self.test[index] for index in pick_evenly_spaced(len(self.test), inputs)]


def count_training_pairs(examples: Sequence[Example]) -> int:
    """Training pairs: every reference of every example."""
    return sum(len(example.references) for example in examples)


def read_published_dataset(path: str, wanted: Sequence[DatasetKind]) -> PublishedDataset:
    """Read the data set at `path`, which must be of one of the wanted kinds.

    A data set without a training or a validation split holds out a fifth of the other, and says so in its notes.

    Raises:
        DataError: nothing is there, it is of another kind, or it has no test split or nothing to train on.
    """
    found, reasons = _try_importers(path, wanted)
    if found is None:
        others = [kind for kind in TASK_BY_DATASET if kind not in wanted] if Path(path).exists() else []
        other, _ = _try_importers(path, others)
        got = f"{other[0]} data at {path}" if other else f"{path}: {reasons[0]}"
        raise DataError(f"a data set of {' or '.join(wanted)}", got, "name another --data, or another experiment")
    kind, splits = found
    train, validation, notes = _complete_splits(path, splits)
    if not splits.get("test"):
        raise DataError("a test split", f"{path} with {', '.join(splits)}", "put the data set's test file beside them")
    test = splits["test"]
    return PublishedDataset(kind, Path(path).name, tuple(train), tuple(validation), tuple(test), tuple(notes))


def _try_importers(
    path: str, kinds: Sequence[DatasetKind]
) -> tuple[tuple[DatasetKind, dict[str, list[Example]]] | None, list[str]]:
    reasons = []
    for kind in kinds:
        try:
            return (kind, import_dataset(kind, path, _IMPORT_LIMITS)), []
        except DataError as problem:
            reasons.append(problem.got)
    return None, reasons


def _complete_splits(path: str, splits: dict[str, list[Example]]) -> tuple[list[Example], list[Example], list[str]]:
    train, validation = splits.get("train", []), splits.get("validation", [])
    if train and validation:
        return train, validation, []
    whole, name = (train, "training") if train else (validation, "validation")
    if len(whole) < 2:
        raise DataError("a training split", f"{path} with {', '.join(splits)}", "put its training file beside them")
    kept, out = split_held_out(len(whole))
    note = (
        f"The data have no {'validation' if train else 'training'} split here: of the {len(whole)} examples of the "
        f"{name} split {len(kept)} train and {len(out)} validate."
    )
    return [whole[index] for index in kept], [whole[index] for index in out], [note]
