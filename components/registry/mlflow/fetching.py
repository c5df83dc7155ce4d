"""Downloads a version's files from MLflow's artifact store, and tells a broken version from a broken store.

A version is broken (ArtifactError) only if the store lists its folder and a file is missing. Every other failure is the
store's (RegistryError). If all files of the version are missing and the whole experiment's folder is empty, as with a
disk that is not mounted or an emptied bucket, the store is broken too.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components.errors import ArtifactError, RegistryError
from components.registry.artifact import copy_artifact, load_artifact
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.registry.mlflow.connection import MlflowConnection
from components.registry.mlflow.versions import Version, call_or_none, to_model_name
from components.storage.atomic_files import remove_tree
from components.storage.urls import format_first_line

RESTORE_FIX = "restore it in MLflow's artifact store, or move the alias (`prefixfleet rollback`, or `promote`)"
_STORE_FIX = "check MLflow's artifact store (its folder or bucket), and try again"
FILES_FOLDER = "artifacts"
"""Folder of a version's prefix and manifest, below its source."""
_NO_FILE = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's error code."""
_LEVELS_TO_EXPERIMENT = 3  # a version's source is <experiment>/<run>/artifacts/model


def fetch_version(connection: MlflowConnection, version: Version, folder: Path) -> Path:
    """Download a version's prefix and manifest into `folder`, check them against its sha256, and return `folder`.

    If `folder` already has them, no call is made.

    Raises:
        ArtifactError: the store answers, but lacks the registered files or has others.
        RegistryError: the store does not answer, or is empty.
        WorkspaceError: the disk is full.
    """
    if _has_files(folder, version):
        return folder
    wanted = f"the prefix of {version.tenant}, version {version.version}"
    if version.sha256 and version.fault:
        raise ArtifactError(wanted, version.fault, RESTORE_FIX)
    with (
        connection.open_client(wanted) as client,
        tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch,
    ):
        source = connection.find_present_uri(find_source(client, version, wanted))
        downloaded = download_files(source, (TENSORS_FILE, MANIFEST_FILE), Path(scratch), connection.uri, wanted)
        _clear_place(folder)
        try:
            manifest = copy_artifact(downloaded, folder, version.sha256 or None)
        except ArtifactError as problem:
            got = problem.got.replace(scratch, source)
            raise type(problem)(f"{wanted}: {problem.wanted}", got, RESTORE_FIX) from None
    if manifest.tenant != version.tenant:
        raise ArtifactError(wanted, f"a prefix of {manifest.tenant}", "register the tenant again")
    return folder


def _has_files(folder: Path, version: Version) -> bool:
    with suppress(ArtifactError):
        return bool(version.sha256) and load_artifact(folder, None)[1].sha256 == version.sha256
    return False


def _clear_place(folder: Path) -> None:
    """Remove what prevents the files from being written: a file or a broken link as `folder`, folders as its files."""
    if not folder.is_dir():
        remove_tree(folder)
    for path in (folder / TENSORS_FILE, folder / MANIFEST_FILE):
        if path.is_dir():
            remove_tree(path)


def find_source(client: Any, version: Version, wanted: str) -> str:
    """Return the URI of a version's files.

    Raises:
        ArtifactError: MLflow has no such version.
    """
    source = call_or_none(client.get_model_version_download_uri, to_model_name(version.tenant), version.version)
    if source is None:
        raise ArtifactError(wanted, "no such version in MLflow", "name another version, or register the tenant again")
    return str(source)


def download_files(source: str, names: Sequence[str], folder: Path, tracking_uri: str, wanted: str) -> Path:
    """Download a version's files into `folder`; return its subfolder with the files. A failure takes up to a minute.

    Raises:
        ArtifactError: the store answers, but lacks one of the files.
        RegistryError: the store does not answer, the download breaks off, or the store is empty.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = folder / FILES_FOLDER
    place.mkdir()
    with _convert_store_errors(source, wanted):
        repository = get_artifact_repository(source, tracking_uri=tracking_uri)
        if _try_without_listing(repository, names, place):
            return place
        present = {info.path.rsplit("/", 1)[-1] for info in repository.list_artifacts(FILES_FOLDER)}
        missing = sorted(set(names) - present)
        root = source.rsplit("/", _LEVELS_TO_EXPERIMENT)[0]
        is_lost = (
            len(missing) == len(names) and not get_artifact_repository(root, tracking_uri=tracking_uri).list_artifacts()
        )
    if is_lost:
        raise RegistryError(wanted, f"an empty artifact store at {root}", _STORE_FIX)
    if missing:
        raise ArtifactError(wanted, f"no {' and no '.join(missing)} in {source}/{FILES_FOLDER}", RESTORE_FIX)
    with _convert_store_errors(source, wanted):
        return Path(
            download_artifacts(artifact_uri=f"{source}/{FILES_FOLDER}", dst_path=str(folder), tracking_uri=tracking_uri)
        )


def _try_without_listing(repository: Any, names: Sequence[str], place: Path) -> bool:
    """Download the files; return False if one cannot be had, while the store may have others.

    The public download lists the folder three times first; a store with many versions may take long for each.
    """
    import requests
    from mlflow.exceptions import MlflowException

    try:
        for name in names:
            repository._download_file(f"{FILES_FOLDER}/{name}", str(place / name))
    except Exception as problem:  # of the store's own client, for a missing file too
        is_answer = isinstance(problem, requests.HTTPError) or getattr(problem, "error_code", "") == _NO_FILE
        if isinstance(problem, (MlflowException, requests.RequestException)) and not is_answer:
            raise
        return False
    return True


@contextmanager
def _convert_store_errors(source: str, wanted: str) -> Iterator[None]:
    try:
        yield
    except Exception as problem:
        # MLflow's client, requests, boto3 and the disk raise their own errors, and MLflow wraps most of them as text.
        raise RegistryError(
            wanted, f"no answer from the store of {source}: {format_first_line(problem)}", _STORE_FIX
        ) from problem
