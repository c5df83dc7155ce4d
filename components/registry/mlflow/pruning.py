"""Removes single versions and runs of a tenant from MLflow, with their files; says how many bytes they have.

Does not decide which. A version is removed before its run, so that a process that is killed between them leaves a run
without a version, which is found again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components.registry.mlflow.connection import MlflowConnection
from components.registry.mlflow.ownership import Ownership
from components.registry.mlflow.removal import delete_run, search_runs
from components.registry.mlflow.versions import Version, call_or_none, to_model_name


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run that may be removed, and the version that was registered from it."""

    run_id: str
    size_bytes: int
    """Of its artifacts."""
    version: Version | None = None
    """None: no version was registered from it."""


def find_stored_runs(
    connection: MlflowConnection, tenant: str, removable: Sequence[Version], kept_runs: set[str], before_s: float
) -> list[StoredRun]:
    """Return the runs of the removable versions, and the tenant's runs that began before `before_s` without a version.

    `kept_runs` are the runs of the versions that stay; `before_s` is in seconds since 1970.
    """
    by_run = {version.run_id: version for version in removable if version.run_id}
    old = f"tags.tenant = '{tenant}' AND attributes.start_time < {int(before_s * 1000)}"
    with connection.open_client(f"the old runs of {tenant}") as client:
        can_delete = connection.open_database_client(f"the old runs of {tenant}") is not None
        found = {run.info.run_id: run for run in search_runs(client, connection.ensure_experiment(), old)}
        found |= {id_: run for id_ in by_run.keys() - found.keys() if (run := call_or_none(client.get_run, id_))}
        return [
            StoredRun(run_id, _count_bytes(client, run), by_run.get(run_id))
            for run_id, run in sorted(found.items())
            if run_id not in kept_runs and (can_delete or run.info.lifecycle_stage == "active")
        ]


def remove_stored_runs(
    connection: MlflowConnection, ownership: Ownership, tenant: str, runs: Sequence[StoredRun]
) -> None:
    """Delete versions, runs and artifacts.

    Raises:
        OwnershipError: one belongs to another workspace; then nothing is deleted.
        RegistryError: its files are outside of the workspace and of its store, so nothing is deleted; or MLflow fails.
    """
    wanted = f"the removal of old versions of {tenant} from MLflow"
    with connection.open_client(wanted) as client:
        database, guard = connection.open_database_client(wanted), connection.make_guard(ownership.owner)
        stored = [(one, client.get_run(one.run_id)) for one in runs]
        for one, run in stored:
            guard.check(run, tenant)
            if one.version is not None:
                ownership.check_version(one.version, f"prune {tenant}")
        for one, run in stored:
            if one.version is not None:
                client.delete_model_version(to_model_name(tenant), one.version.version)
            delete_run(client, database, run)


def find_run_file(connection: MlflowConnection, run_id: str, name: str) -> int | None:
    """Return the size in bytes of a file among the artifacts of a run; None: there is no such file or run."""
    with connection.open_client(f"the file {name} of run {run_id}") as client:
        run = call_or_none(client.get_run, run_id)
        if run is None:
            return None
        listed = _open_repository(client, run).list_artifacts(None)
        return next((entry.file_size or 0 for entry in listed if entry.path == name), None)


def remove_run_file(connection: MlflowConnection, ownership: Ownership, tenant: str, run_id: str, name: str) -> None:
    """Delete a file among the artifacts of a tenant's run.

    Raises:
        OwnershipError, RegistryError: as `remove_stored_runs`.
    """
    with connection.open_client(f"the removal of {name} from run {run_id}") as client:
        run = client.get_run(run_id)
        connection.make_guard(ownership.owner).check(run, tenant)
        _open_repository(client, run).delete_artifacts(name)


def _open_repository(client: Any, run: Any) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri)


def _count_bytes(client: Any, run: Any) -> int:
    return sum(_list_sizes(_open_repository(client, run), None))


def _list_sizes(repository: Any, path: str | None) -> Iterator[int]:
    for entry in repository.list_artifacts(path):
        if entry.is_dir:
            yield from _list_sizes(repository, entry.path)
        else:
            yield entry.file_size or 0
