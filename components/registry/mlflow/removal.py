"""Removes a tenant from MLflow permanently: versions, model, runs, artifacts and dataset entries.

MLflow's own deletion of a run only hides it. With access to MLflow's database (for a server: through
MLFLOW_BACKEND_STORE_URI) runs are deleted as by `mlflow gc`. Without it, runs on a server stay hidden until `mlflow gc`
is run there, and `find_remaining` names them.
"""

import shutil
from collections.abc import Iterator
from typing import Any

from components.registry.mlflow.connection import BACKEND_VARIABLE, MlflowConnection
from components.registry.mlflow.ownership import Ownership
from components.registry.mlflow.versions import call_or_none, find_versions, to_model_name


def check_removable(connection: MlflowConnection, ownership: Ownership, tenant: str) -> None:
    """Check that this workspace may delete everything of a tenant, before anything is deleted.

    Raises:
        OwnershipError: a version or a run belongs to another workspace.
        RegistryError: artifacts are outside of the workspace and of its store.
    """
    ownership.check_tenant(tenant, f"forget {tenant}")
    with connection.open_client(f"the runs of {tenant}") as client:
        guard = connection.make_guard(ownership.owner)
        for run in search_runs(client, connection.ensure_experiment(), f"tags.tenant = '{tenant}'"):
            guard.check(run, tenant)


def remove_tenant(connection: MlflowConnection, ownership: Ownership, tenant: str) -> None:
    """Delete everything of a tenant; idempotent. Raises as `check_removable`; then nothing is deleted."""
    wanted = f"the removal of {tenant} from MLflow"
    with connection.open_client(wanted) as client:
        database = connection.open_database_client(wanted)
        check_removable(connection, ownership, tenant)
        _remove(client, database, connection.ensure_experiment(), tenant)
    for folder in connection.find_run_folders(tenant):
        shutil.rmtree(folder)


def find_remaining(connection: MlflowConnection, tenant: str) -> list[str]:
    """Return descriptions of everything of a tenant that is still in MLflow, or in a store on this disk."""
    with connection.open_client(f"a search for remains of {tenant}") as client:
        left = list(_find_remaining(client, connection.ensure_experiment(), tenant))
    return [*left, *(f"files of a run in {folder}" for folder in connection.find_run_folders(tenant))]


def _remove(client: Any, database: Any, experiment_id: str, tenant: str) -> None:
    """`database` is a client of MLflow's database, or None."""
    from mlflow.exceptions import MlflowException

    store = None if database is None else database._tracking_client.store
    for run in list(search_runs(client, experiment_id, f"tags.tenant = '{tenant}'")):
        delete_run(client, database, run)
    if store is not None:
        _delete_datasets(store, experiment_id, tenant)
    try:
        client.delete_registered_model(to_model_name(tenant))
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    if store is not None and store.engine.dialect.name == "sqlite":
        with store.engine.connect() as connection:
            connection.exec_driver_sql("VACUUM")  # overwrites the deleted rows


def _find_remaining(client: Any, experiment_id: str, tenant: str) -> Iterator[str]:
    yield from (f"version {version.version} in MLflow" for version in find_versions(client, tenant))
    if call_or_none(client.get_registered_model, to_model_name(tenant)) is not None:
        yield f"registered model {to_model_name(tenant)} in MLflow"
    for run in search_runs(client, experiment_id, f"tags.tenant = '{tenant}'"):
        hidden = run.info.lifecycle_stage != "active"
        fix = f"run `mlflow gc --run-ids {run.info.run_id}` on its server, or set {BACKEND_VARIABLE} here and try again"
        yield f"run {run.info.run_id} in MLflow" + (f" (hidden; to delete it {fix})" if hidden else "")


def search_runs(client: Any, experiment_id: str, condition: str) -> Iterator[Any]:
    """Yield the runs that meet a condition in MLflow's search language, hidden ones too."""
    from mlflow.entities import ViewType

    token = None
    while True:
        page = client.search_runs([experiment_id], condition, ViewType.ALL, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def delete_run(client: Any, database: Any, run: Any) -> None:
    """Delete a run and its artifacts; without a client of the database, `database`, the run itself is only hidden."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = None if database is None else database._tracking_client.store
    is_active = run.info.lifecycle_stage == "active"
    if is_active or store is not None:  # a run hidden in MLflow's page still has its artifacts
        get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri).delete_artifacts()
    if is_active:
        client.delete_run(run.info.run_id)
    if store is not None:
        store._hard_delete_run(run.info.run_id)


def _delete_datasets(store: Any, experiment_id: str, tenant: str) -> None:
    """Delete the tenant's rows in the table of datasets, which the deletion of runs keeps."""
    from mlflow.store.tracking.dbmodels.models import SqlDataset

    with store.ManagedSessionMaker() as session:
        session.query(SqlDataset).filter_by(name=tenant, experiment_id=int(experiment_id)).delete()
