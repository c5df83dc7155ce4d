"""A cell is one training (or none) and one scored decoding; this module has its key and its result as a JSON file.

A cell contains everything that determines its result, with digests in place of contents and paths. Its key therefore
identifies the result: the same cell, in the same or in another experiment, finds the result that exists. Knows no
experiment; does not train, decode or score.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from components.config import TrainConfig
from components.errors import WorkspaceError
from components.storage.atomic_files import write_atomic

PROTOCOL = 1
"""Incremented when cells are measured in another way; results of another protocol are not used."""

Slicing = Literal["data", "length"]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecodingSettings(_FrozenModel):
    """The fields of `components.model.decoding.Decoding` that the paper's protocols set."""

    num_beams: int
    max_new_tokens: int
    min_new_tokens: int = 0
    length_penalty: float = 1.0
    banned: tuple[str, ...] = ()


class Cell(_FrozenModel):
    """Everything that determines one result."""

    protocol: int
    base_digest: str
    data_digest: str
    train: TrainConfig | None
    """None: the base without any training."""
    size: int | None = None
    """Training examples in a low-data sample; None: all examples, no sample."""
    sample: int | None = None
    largest: int | None = None
    """The largest sample size of the request, on which the position of a sample in the data depends."""
    decoding: DecodingSettings
    inputs: int | None
    """Number of evenly spaced test inputs that are scored; None: all."""
    max_source_tokens: int | None
    suite: str
    slicing: Slicing = "data"

    @property
    def key(self) -> str:
        """The identifier of the result: 32 hex digits of SHA-256 over all settings that differ from their default.

        A setting that is added later, with a default that changes nothing, therefore keeps the existing results valid.
        """
        return _compute_digest(self.model_dump(mode="json", exclude_defaults=True))[:32]

    @property
    def run_key(self) -> str:
        """The identifier of a training run to resume: SHA-256 over all settings."""
        return _compute_digest(self.model_dump(mode="json"))

    @property
    def seed(self) -> int:
        """The training seed; 0 if nothing is trained."""
        return self.train.seed if self.train else 0


def _compute_digest(values: dict[str, Any]) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class MetricValue(_FrozenModel):
    """One metric on one slice, in the suite's unit, with a 95 % bootstrap interval over the inputs or None."""

    metric: str
    slice: str
    value: float
    n: int
    variant: str = ""
    low: float | None = None
    high: float | None = None


class CellResult(_FrozenModel):
    """The measurements of one cell."""

    cell: Cell
    values: tuple[MetricValue, ...]
    trained: int
    """Number of values trained and stored; 0 if nothing is trained."""
    steps: int
    best_step: int
    resumed_from: int = 0
    """The step that an earlier, interrupted run had reached; 0: not resumed."""
    validation_loss: float | None
    train_seconds: float
    """Wall time of training including interrupted runs, without loading and encoding."""
    decode_seconds: float
    peak_train_mib: float
    """Peak resident memory of the cell's process until the end of training: interpreter, libraries, base, training."""
    peak_mib: float
    """The same until the end of decoding."""
    peak_gpu_train_mib: float | None = None
    """Peak memory of tensors on the GPU in training; None without a GPU."""
    peak_gpu_mib: float | None = None
    bounds: dict[str, tuple[int, int]] = {}
    """Slice by length -> (least, greatest) number of source tokens."""
    machine: str


def make_result_path(folder: Path, cell: Cell) -> Path:
    """Return the path of a cell's result in an experiment's output folder."""
    return folder / "cells" / f"{cell.key}.json"


def write_result(folder: Path, result: CellResult) -> Path:
    """Write a result atomically and return its path. Raises WorkspaceError if it cannot be written."""
    path = make_result_path(folder, result.cell)
    write_atomic(path, (result.model_dump_json(indent=1) + "\n").encode())
    return path


def read_result(folder: Path, cell: Cell) -> CellResult | None:
    """Read the result of exactly this cell; None if it has not been measured.

    If the file holds another cell, for example because a default has changed since, the result is None too.

    Raises:
        WorkspaceError: the file exists and is not a result.
    """
    path = make_result_path(folder, cell)
    try:
        result = CellResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as problem:
        got = f"{path}: {str(problem).splitlines()[0]}"
        raise WorkspaceError(
            "the result of a cell", got, "delete the file; the next run measures the cell again"
        ) from None
    return result if result.cell == cell else None
