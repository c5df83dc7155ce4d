"""One MLflow run for one trained prefix: parameters, metrics, curves, dataset version and files.

Knows MLflow's limits on names, values and batches. Does not know the meaning of the numbers.
"""

import csv
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from components.errors import RegistryError
from components.registry.mlflow.direct_calls import store_files

Curve = Sequence[tuple[int, float]]

_PARAMS_PER_CALL = 100  # MLflow's limits
_METRICS_PER_CALL = 800
_MAX_PARAM_CHARS = 6000  # characters
MAX_TAG_CHARS = 5000
_MAX_DATASET_DIGEST_CHARS = 36


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """The data of one training and evaluation for a run in MLflow."""

    params: Mapping[str, Any] = field(default_factory=dict)
    """Nested keys are joined with dots."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Metric name -> (optimizer step, value)."""
    dataset_version: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()
    """Files or folders (report, verdict, predictions) at the top level of the run's artifacts."""
    name: str | None = None
    """Run name in MLflow; None: the tenant's id."""


def read_curves(path: Path, *, step: str = "step") -> dict[str, list[tuple[int, float]]]:
    """Return column -> curve of a loss.csv, without empty cells.

    Raises:
        RegistryError: the file is missing, or a cell is not a number.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                for column, cell in row.items():
                    if column != step and cell:
                        curves.setdefault(column, []).append((int(row[step]), float(cell)))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        wanted = f"a CSV of numbers with a column {step!r}"
        raise RegistryError(wanted, f"{path}: {problem}", "train the tenant again") from None
    return curves


@contextmanager
def open_run(client: Any, experiment_id: str, tenant: str, log: RunLog, staged: Path) -> Iterator[Any]:
    """Create a run, log `log` and the files in the folder `staged`, yield MLflow's Run, and end it after the block.

    If logging or the block fails, the run is marked as failed, if MLflow can still be reached.
    """
    from mlflow.exceptions import MlflowException

    tags = {"tenant": tenant, "dataset_version": log.dataset_version, **log.tags}
    run = client.create_run(experiment_id, tags=clip_tags(tags), run_name=log.name or tenant)
    try:
        _write_numbers(client, run.info.run_id, log)
        if log.dataset_version:
            client.log_inputs(run.info.run_id, datasets=[_make_dataset_input(tenant, log.dataset_version)])
        copy_files(log.files, staged)
        if any(staged.iterdir()):
            store_files(client, run.info.artifact_uri, staged)
        yield run
    except BaseException:
        with suppress(MlflowException):
            client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")


def clip_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags as strings of MLflow's maximum length, without empty ones."""
    return {name: str(value)[:MAX_TAG_CHARS] for name, value in tags.items() if value is not None and str(value)}


def copy_files(files: Sequence[Path], folder: Path) -> None:
    """Copy files and folders into `folder`.

    Raises:
        RegistryError: one of them is missing, or two have the same name.
    """
    for path in files:
        target = folder / path.name
        if target.exists() or not path.exists():
            got = f"two files named {path.name}" if path.exists() else f"no file {path}"
            raise RegistryError("files to log with a run", got, "correct the run's files")
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)


def _write_numbers(client: Any, run_id: str, log: RunLog) -> None:
    from mlflow.entities import Metric, Param

    now_ms = int(time.time() * 1000)
    points = [(name, 0, value) for name, value in log.metrics.items()]
    points += [(name, step, value) for name, curve in log.curves.items() for step, value in curve]
    metrics = [Metric(name, float(value), now_ms, int(step)) for name, step, value in points if math.isfinite(value)]
    params = [Param(name, str(value)[:_MAX_PARAM_CHARS]) for name, value in _flatten(log.params)]
    for some_params, some_metrics in _split_batches(params, metrics):
        client.log_batch(run_id, metrics=some_metrics, params=some_params)


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _split_batches(params: list[Any], metrics: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    left_params, left_metrics = iter(params), iter(metrics)
    while True:
        batch = list(islice(left_params, _PARAMS_PER_CALL)), list(islice(left_metrics, _METRICS_PER_CALL))
        if not any(batch):
            return
        yield batch


def _make_dataset_input(tenant: str, version: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"pointer": "data.dvc", "version": version})
    dataset = Dataset(name=tenant, digest=version[:_MAX_DATASET_DIGEST_CHARS], source_type="dvc", source=source)
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])
