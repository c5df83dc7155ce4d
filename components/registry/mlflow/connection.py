"""The connection to MLflow: its client, its database if known, its experiment, and where its files are.

Knows MLflow's addresses; does not know tenants, prefixes or runs.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow.endpoint import DISK_FIX, MlflowEndpoint
from components.registry.mlflow.probe import is_server
from components.registry.mlflow.relocation import ARTIFACTS_FOLDER, find_own_database, find_present_path, relocate
from components.registry.mlflow.stores import DeletionGuard, find_run_folders
from components.storage.urls import (
    TRACKING_URI_VARIABLE,
    read_tracking_uri,
    resolve_uri,
    to_local_path,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

BACKEND_VARIABLE = "MLFLOW_BACKEND_STORE_URI"
"""MLflow's own variable for the database behind its server; if it is set, that database is also read directly."""

_RETRY_SECONDS = 30.0
_FIX = f"start MLflow, or correct registry.tracking_uri in params.yaml ({TRACKING_URI_VARIABLE} overrides it)"
_BACKEND_FIX = f"start MLflow's database, or correct or unset {BACKEND_VARIABLE}"

_Result = TypeVar("_Result")


class MlflowConnection:
    """One MLflow: a server, or a database that is used directly."""

    def __init__(self, config: RegistryConfig, workspace: Path) -> None:
        """Open nothing yet; a relative SQLite path is resolved from the workspace."""
        self.uri = resolve_uri(read_tracking_uri(config.tracking_uri), workspace)
        self.is_server = is_server(self.uri)
        self._endpoint = MlflowEndpoint(self.uri, _FIX, is_own=True)
        backend = os.environ.get(BACKEND_VARIABLE)
        server_database = MlflowEndpoint(backend, _BACKEND_FIX, is_own=False) if backend else None
        self._database = server_database if self.is_server else self._endpoint
        self._is_database_down, self._retry_database_s = False, float("-inf")
        self._experiment = config.experiment
        self._artifacts = _find_artifact_folder(self.uri, workspace) / config.experiment
        self._experiment_id: str | None = None
        self._location = ""
        """URI of the experiment's artifacts; "" until `ensure_experiment`."""
        self._workspace, self._own_database = workspace, find_own_database(self.uri, workspace)
        self._is_relocated = False
        self._lock = threading.Lock()

    @contextmanager
    def open_client(self, wanted: str) -> Iterator[Any]:
        """See `MlflowEndpoint.open_client`."""
        self._relocate_once(wanted)
        with self._endpoint.open_client(wanted) as client:
            yield client

    def open_database_client(self, wanted: str) -> Any:
        """Return a client of MLflow's database, or None if a server's database is not known; use it in `open_client`.

        Raises:
            RegistryError: the database cannot be reached.
        """
        if self._database is None:
            return None
        with self._database.open_client(wanted) as client:
            return client

    def read_database(self, wanted: str, read: "Callable[[Connection], _Result]") -> _Result | None:
        """Return `read(connection)` on MLflow's database, or None if MLflow must be asked instead.

        None: the database has other tables than those in `tables`; or the server's database is not known, or cannot be
        reached. The latter is logged once, and the database is not tried again for half a minute.

        Raises:
            RegistryError: see `open_client`; only without a server.
        """
        if self._database is None or time.monotonic() < self._retry_database_s:
            return None
        self._relocate_once(wanted)
        try:
            result = self._database.read_tables(wanted, read)
        except RegistryError as problem:
            if not self.is_server:
                raise
            if not self._is_database_down:
                logging.getLogger(__name__).warning("asking MLflow's server instead of its database: %s", problem)
            self._is_database_down, self._retry_database_s = True, time.monotonic() + _RETRY_SECONDS
            return None
        self._is_database_down = False
        return result

    def find_present_uri(self, uri: str) -> str:
        """Return where the files at a stored URI are now, if the workspace was moved and its database is read-only."""
        own = self._own_database
        return uri if own is None else find_present_path(uri, own, self._workspace)

    def make_guard(self, owner: str) -> DeletionGuard:
        """Return the guard of deletions in this MLflow by the workspace of `owner`; call it inside `open_client`."""
        self.ensure_experiment()
        folders = [self._workspace, *([self._own_database.parent] if self._own_database else [])]
        return DeletionGuard(owner, folders, self._location, is_shared=self._own_database is None)

    def find_run_folders(self, tenant: str) -> list[Path]:
        """Return the folders of a tenant's runs in the store beside the workspace's own database, by their content."""
        if self._own_database is None:
            return []
        found = find_run_folders(self._own_database.parent / ARTIFACTS_FOLDER, tenant)
        return [folder for folder in found if folder.resolve().is_relative_to(self._workspace)]

    def _relocate_once(self, wanted: str) -> None:
        """Let the locations in the workspace's own database follow the workspace. Raises RegistryError."""
        with self._lock:
            if self._is_relocated or self._own_database is None:
                return
            try:
                relocate(self._own_database, self._workspace)
            except sqlite3.Error as problem:
                raise RegistryError(wanted, f"{problem} ({self._own_database})", DISK_FIX) from problem
            self._is_relocated = True

    def ensure_experiment(self) -> str:
        """Return the id of the configured experiment, which is created if missing; call it inside `open_client`.

        Raises:
            RegistryError: the experiment was deleted in MLflow.
        """
        with self._lock:
            if self._experiment_id is None:
                self._experiment_id = self._make_experiment()
            return self._experiment_id

    def ensure_store(self) -> str:
        """Return the id of the experiment for a new run, after a look at its store; call it inside `open_client`.

        Raises:
            RegistryError: as `ensure_experiment`; or the folder of the experiments' artifacts is gone, as after a move
                of the store: MLflow would make it again.
        """
        experiment_id = self.ensure_experiment()
        path = to_local_path(self._location)
        if path is not None and not path.is_relative_to(self._workspace) and not path.parents[1].is_dir():
            fix = "mount it, or move it back; or make it by hand if this is the right place"
            raise RegistryError(f"the folder of MLflow's artifacts in {path.parents[1]}", "no such folder", fix)
        return experiment_id

    def _make_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        api = self._endpoint.api
        experiment = api.get_experiment_by_name(self._experiment)
        if experiment is None:
            location = None if self.is_server else self._artifacts.as_uri()
            try:
                experiment = api.get_experiment(api.create_experiment(self._experiment, artifact_location=location))
            except MlflowException:  # created by another process meanwhile, or refused
                experiment = api.get_experiment_by_name(self._experiment)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            got = f"the deleted experiment {self._experiment!r}"
            fix = "restore it in MLflow, or set registry.experiment to another name"
            raise RegistryError("an active MLflow experiment", got, fix)
        self._location = str(experiment.artifact_location)
        return str(experiment.experiment_id)


def _find_artifact_folder(uri: str, workspace: Path) -> Path:
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).parent / ARTIFACTS_FOLDER
    return (workspace / "var" / "mlflow" / "artifacts").resolve()
