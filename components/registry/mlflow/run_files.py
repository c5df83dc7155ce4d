"""Reads a run back: its parameters, its loss curves, and small files among its artifacts.

Does not know what they mean.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import RegistryError
from components.registry.mlflow.connection import MlflowConnection
from components.registry.mlflow.versions import call_or_none
from components.storage.urls import format_first_line, to_local_path

CURVES = ("train_loss", "validation_loss")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What MLflow holds of a run."""

    run_id: str
    experiment_id: str
    params: Mapping[str, str]
    curves: Mapping[str, Sequence[tuple[int, float]]]
    """Name -> points (optimizer step, value)."""
    tags: Mapping[str, str]
    seconds: float | None
    """Of the training; None: unknown."""


def read_run(connection: MlflowConnection, run_id: str) -> RunRecord | None:
    """Return a run; None: MLflow has none with this id. Raises RegistryError."""
    with connection.open_client(f"run {run_id}") as client:
        run = call_or_none(client.get_run, run_id)
        if run is None:
            return None
        present = [name for name in CURVES if name in run.data.metrics]
        curves = {name: _read_curve(client, run_id, name) for name in present}
    seconds = run.data.metrics.get("seconds")
    data = run.data
    return RunRecord(run_id, str(run.info.experiment_id), dict(data.params), curves, dict(data.tags), seconds)


def _read_curve(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    """Return the points by step; the best step's own value, which is logged at step 0, is left out."""
    points = [(int(one.step), float(one.value)) for one in client.get_metric_history(run_id, name)]
    return sorted({point for point in points if point[0] > 0})


def read_run_file(connection: MlflowConnection, run_id: str, name: str) -> bytes | None:
    """Return the content of a file among the artifacts of a run; None: there is no such run or file.

    Raises:
        RegistryError: MLflow or its artifact store does not answer.
    """
    wanted = f"the file {name} of run {run_id}"
    with connection.open_client(wanted) as client:
        run = call_or_none(client.get_run, run_id)
        if run is None:
            return None
        uri = connection.find_present_uri(run.info.artifact_uri)
        folder = to_local_path(uri)
        if folder is not None:
            path = folder / name
            return path.read_bytes() if path.is_file() else None
        return _download(uri, name, connection.uri, wanted)


def _download(uri: str, name: str, tracking_uri: str, wanted: str) -> bytes | None:
    from mlflow.artifacts import download_artifacts
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        listed = get_artifact_repository(uri, tracking_uri=tracking_uri).list_artifacts()
        if name not in {info.path for info in listed}:
            return None
        with tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch:
            path = download_artifacts(artifact_uri=f"{uri}/{name}", dst_path=scratch, tracking_uri=tracking_uri)
            return Path(path).read_bytes()
    except Exception as problem:
        # MLflow's client, requests, boto3 and the disk raise their own errors, and MLflow wraps most of them as text.
        got = f"no answer from the store of {uri}: {format_first_line(problem)}"
        raise RegistryError(wanted, got, "check MLflow's artifact store (its folder or bucket)") from problem
