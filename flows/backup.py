"""The flows `backup` and `restore`. `backup` is scheduled once a day; a night that is still running is waited for."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from components.errors import ConfigError, LockHeldError, RegistryError, WorkersError
from components.stages.backup.make import BackupResult, make_backup
from components.stages.backup.restore import RestoreResult, restore_backup
from components.stages.workspace import Workspace
from components.storage.urls import hide_password
from flows.environment import prepare_environment
from flows.run_names import name_run
from flows.states import make_end_state

_RETRIES = 6
_RETRY_DELAY_S = 600
_PASSING = (LockHeldError, RegistryError, WorkersError)
"""Errors that may be over after a while: another run works, or MLflow or the target does not answer."""


@flow(name="backup", flow_run_name=name_run("backup"))
def backup(workspace: str = ".", target: str | None = None, keep: int | None = None) -> State[BackupResult | None]:
    """Copy the fleet to `target`, or to `backup.target` of params.yaml. With neither, do nothing."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    config = opened_workspace.params.backup
    target = target or config.target
    if target is None:
        return make_end_state("no backup.target in params.yaml", None, failed=False)
    result = copy_fleet(opened_workspace, target, keep or config.keep)
    made = result.manifest
    sentence = f"backup {made.id}: {made.file_count:,} files, {made.byte_count:,} bytes, {made.new_bytes:,} of them new"
    return make_end_state(sentence, result, failed=False)


@flow(name="restore", flow_run_name=name_run("restore into {folder}"))
def restore(
    source: str,
    folder: str,
    backup_id: str | None = None,
    database: str | None = None,
    mlflow: str | None = None,
    artifacts: str | None = None,
) -> State[RestoreResult]:
    """Restore a backup into a new folder, as `prefixfleet restore` does. Prefect records the parameters.

    Raises:
        ConfigError: a URL has a password.
    """
    for url in (source, database, mlflow, artifacts):
        if url is not None and hide_password(url) != url:
            fix = "leave it out, and set PGPASSWORD or ~/.pgpass on the machine of the run"
            raise ConfigError(
                "URLs without passwords, since Prefect records a run's parameters", hide_password(url), fix
            )
    result = restore_backup(
        source, Path(folder), backup_id=backup_id, database=database, mlflow=mlflow, artifacts=artifacts
    )
    sentence = f"restored backup {result.manifest.id}; by hand: {'; '.join(result.finished.by_hand)}"
    return make_end_state(sentence, result, failed=False)


def _may_pass(_task: Any, _run: Any, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), _PASSING)


@task(cache_policy=NO_CACHE, retries=_RETRIES, retry_delay_seconds=_RETRY_DELAY_S, retry_condition_fn=_may_pass)
def copy_fleet(workspace: Workspace, target: str, keep: int | None) -> BackupResult:
    """Make a backup. Retried: a run may work at the moment, and the target may not answer; what is copied stays."""
    return make_backup(workspace, target, keep)
