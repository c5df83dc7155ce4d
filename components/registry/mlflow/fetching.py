"""A version's files out of MLflow's artifact store, and which of the two is at fault where they do not come.

Files are missing only where the store itself, asked for their folder, answers without them; whatever else happens on
the way is the store's trouble, and says nothing of the version. Where everything is gone from a folder of which MLflow
lists nothing, as a disk that is not mounted or a bucket that was emptied shows it, the store has lost its files.
Knows nothing of what the files hold.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.errors import ArtifactError, RegistryError
from components.registry.mlflow.versions import Version, call_or_none, to_model_name
from components.storage.urls import format_first_line

RESTORE_FIX = "restore it in MLflow's artifact store, or move the alias (`prefixfleet rollback`, or `promote`)"
_STORE_FIX = "see that MLflow's artifact store answers (the folder or the bucket behind it), and try again"
_ARTIFACTS_FOLDER = "artifacts"
_LEVELS_TO_EXPERIMENT = 3  # a version's source is <experiment>/<run>/artifacts/model


def find_source(client: Any, version: Version, wanted: str) -> str:
    """Where MLflow says that a version's files lie.

    Raises:
        ArtifactError: MLflow has no such version.
    """
    source = call_or_none(client.get_model_version_download_uri, to_model_name(version.tenant), version.version)
    if source is None:
        raise ArtifactError(wanted, "no such version in MLflow", "ask for another, or register the tenant again")
    return str(source)


def download_files(source: str, names: Sequence[str], folder: Path, tracking_uri: str, wanted: str) -> Path:
    """Bring a version's files into `folder`; returns the folder in it that holds them. Takes up to a minute to fail.

    Raises:
        ArtifactError: the store answers, and lacks one of the files.
        RegistryError: the store does not answer, breaks off, or has lost everything.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    def listed(place: str, path: str | None = None) -> set[str]:
        repository = get_artifact_repository(place, tracking_uri=tracking_uri)
        return {info.path.rsplit("/", 1)[-1] for info in repository.list_artifacts(path)}

    with _convert_store_errors(source, wanted):
        missing = sorted(set(names) - listed(source, _ARTIFACTS_FOLDER))
        root = source.rsplit("/", _LEVELS_TO_EXPERIMENT)[0]
        is_lost = len(missing) == len(names) and not listed(root)
    if is_lost:
        raise RegistryError(wanted, f"an artifact store with nothing in it, at {root}", _STORE_FIX)
    if missing:
        raise ArtifactError(wanted, f"no {' and no '.join(missing)} in {source}/{_ARTIFACTS_FOLDER}", RESTORE_FIX)
    with _convert_store_errors(source, wanted):
        return Path(
            download_artifacts(
                artifact_uri=f"{source}/{_ARTIFACTS_FOLDER}", dst_path=str(folder), tracking_uri=tracking_uri
            )
        )


@contextmanager
def _convert_store_errors(source: str, wanted: str) -> Iterator[None]:
    try:
        yield
    except Exception as problem:
        # MLflow's client, requests, boto3 and the disk each have their own; MLflow tells most of them as text alone.
        raise RegistryError(
            wanted, f"no answer from the store of {source}: {format_first_line(problem)}", _STORE_FIX
        ) from problem
