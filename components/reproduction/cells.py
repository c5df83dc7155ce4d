"""A cell: one training (or none) and one scored decoding; its key, and its result as one JSON file.

A cell says all that decides its result, by digests where content decides, and nothing of where the content lies. So its
key names the result: whoever asks for the same cell again, in the same or another experiment, finds it. A result is
written whole or not at all. Knows no experiment and does no work.
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
"""Rises when the same cell would be measured in another way; results of another protocol are not read."""

Slicing = Literal["data", "length"]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecodingSettings(_FrozenModel):
    """How a cell decodes; the fields of `components.model.decoding.Decoding` that the paper's protocols set."""

    num_beams: int
    max_new_tokens: int
    min_new_tokens: int = 0
    length_penalty: float = 1.0
    banned: tuple[str, ...] = ()


class Cell(_FrozenModel):
    """Everything that decides one result."""

    protocol: int
    base_digest: str
    data_digest: str
    train: TrainConfig | None
    """None: the base alone."""
    size: int | None = None
    """Training examples of a low-data sample; None for all."""
    sample: int | None = None
    largest: int | None = None
    """The length of the stretch that a sample is the head of, which decides where samples lie."""
    decoding: DecodingSettings
    inputs: int | None
    """So many evenly spaced test inputs are scored; None for all."""
    max_source_tokens: int | None
    suite: str
    slicing: Slicing = "data"

    @property
    def key(self) -> str:
        """What names the result: 32 hex digits of SHA-256 over what is set otherwise than by default.

        So a setting that is added later, with a default that changes nothing, leaves the results that are there.
        """
        return _compute_digest(self.model_dump(mode="json", exclude_defaults=True))[:32]

    @property
    def run_key(self) -> str:
        """What names a training that may be resumed: SHA-256 over everything."""
        return _compute_digest(self.model_dump(mode="json"))

    @property
    def seed(self) -> int:
        """The training seed; 0 where nothing is trained."""
        return self.train.seed if self.train else 0


def _compute_digest(values: dict[str, Any]) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class MetricValue(_FrozenModel):
    """One metric of one slice, in the units of the suite; the interval is a 95 % bootstrap over the inputs."""

    metric: str
    slice: str
    value: float
    n: int
    variant: str = ""
    low: float | None = None
    high: float | None = None


class CellResult(_FrozenModel):
    """What one cell measured."""

    cell: Cell
    values: tuple[MetricValue, ...]
    trained: int
    """Values trained and stored; 0 where nothing is trained."""
    steps: int
    best_step: int
    resumed_from: int = 0
    """The step that an earlier, interrupted run had reached; 0 for one run from end to end."""
    validation_loss: float | None
    train_seconds: float
    """Wall time of training, interrupted parts included, without encoding and loading."""
    decode_seconds: float
    peak_train_mib: float
    """Peak resident memory of the cell's own process to the end of training: interpreter, libraries, base, training."""
    peak_mib: float
    """The same to the end of decoding."""
    peak_gpu_train_mib: float | None = None
    """Peak of tensors on the GPU while training; None without one."""
    peak_gpu_mib: float | None = None
    bounds: dict[str, tuple[int, int]] = {}
    """Slices by length: least and greatest number of source tokens."""
    machine: str


def make_result_path(folder: Path, cell: Cell) -> Path:
    """Where a cell's result lies below an experiment's output folder."""
    return folder / "cells" / f"{cell.key}.json"


def write_result(folder: Path, result: CellResult) -> Path:
    """Write a result, whole or not at all. Raises WorkspaceError when the disk does not take it."""
    path = make_result_path(folder, result.cell)
    write_atomic(path, (result.model_dump_json(indent=1) + "\n").encode())
    return path


def read_result(folder: Path, cell: Cell) -> CellResult | None:
    """The result of exactly this cell, or None where it has not been measured.

    A result of another cell under this one's name is none of it, as when a default has changed since.

    Raises:
        WorkspaceError: the file is there and is no result.
    """
    path = make_result_path(folder, cell)
    try:
        result = CellResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as problem:
        got = f"{path}: {str(problem).splitlines()[0]}"
        raise WorkspaceError("a cell's result", got, "delete the file; the cell is measured again") from None
    return result if result.cell == cell else None
