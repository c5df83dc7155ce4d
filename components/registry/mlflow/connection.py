"""A way to MLflow that is quiet, says quickly when there is none, and leaves the process as it found it.

Knows where MLflow is and how to fail; does not know tenants, prefixes or runs. MLflow takes its time limits and its
telemetry switch from the environment and logs through its own handlers: both are set around our calls and put back.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow.probe import enable_write_ahead_log, is_server, probe_address
from components.storage.urls import (
    TRACKING_URI_VARIABLE,
    format_first_line,
    hide_password,
    read_tracking_uri,
    resolve_uri,
)

BACKEND_VARIABLE = "MLFLOW_BACKEND_STORE_URI"
"""MLflow's own name for the database that its server stands on; where it is set, we may go to that directly."""

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # and the call that it costs
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool")
_PROBE_INTERVAL_SECONDS = 5.0
_RETRY_SECONDS = 30.0
_FIX = f"start MLflow, or correct registry.tracking_uri in params.yaml ({TRACKING_URI_VARIABLE} wins over it)"
_BACKEND_FIX = f"start MLflow's database, or correct or unset {BACKEND_VARIABLE}"
_DISK_FIX = "free space on the disk that the database is on, or mend it"

_Result = TypeVar("_Result")

_quiet_lock = threading.RLock()
_quiet_depth = 0
_saved_environment: dict[str, str | None] = {}
_saved_levels: dict[str, int] = {}


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Within it MLflow logs nothing, sends no telemetry and gives up soon; may be nested and entered by many threads.

    A variable that the user has set stays as it is. Failures are told by exceptions, so its logs are not missed.
    """
    global _quiet_depth
    with _quiet_lock:
        if _quiet_depth == 0:
            _saved_environment.update({name: os.environ.get(name) for name in _ENVIRONMENT})
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            import mlflow  # noqa: F401 - sets its loggers up, so their levels are taken after it

            for name in _LOGGERS:
                logger = logging.getLogger(name)
                _saved_levels[name] = logger.level
                logger.setLevel(logging.CRITICAL + 1)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                for name, old in _saved_environment.items():
                    if old is None:
                        os.environ.pop(name, None)
                for name, level in _saved_levels.items():
                    logging.getLogger(name).setLevel(level)


class MlflowEndpoint:
    """One address that MLflow's client can speak to, a server's or a database's."""

    def __init__(self, uri: str, fix: str, *, is_own: bool) -> None:
        """Nothing is opened before the first call; `fix` is what to do where it does not answer.

        A database that `is_own`, not a server's, is set to its write-ahead log.
        """
        self.uri, self._fix, self._is_own = uri, fix, is_own
        self._last_answer_s = float("-inf")
        self._lock = threading.Lock()

    @cached_property
    def api(self) -> Any:
        """MLflow's client, to be used inside `open_client`."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        if self._is_own:
            enable_write_ahead_log(self.uri)
        return client

    @contextmanager
    def open_client(self, wanted: str) -> Iterator[Any]:
        """An MlflowClient for a block of calls, whose failures become RegistryError saying what was `wanted`.

        Raises:
            RegistryError: no MLflow within about 10 s, or it refused; the message has its first line.
        """
        with quiet_mlflow():
            import requests
            import sqlalchemy
            from mlflow.exceptions import MlflowException

            try:
                self._probe_if_stale()
                yield self.api
                self._last_answer_s = time.monotonic()
            except (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError, OSError) as problem:
                self._last_answer_s = float("-inf")
                told = format_first_line(problem)
                fix = _DISK_FIX if "disk" in told else self._fix
                raise RegistryError(wanted, f"{told} (MLflow at {hide_password(self.uri)})", fix) from problem

    def _probe_if_stale(self) -> None:
        """Knock with a short limit: MLflow itself would retry a closed door for minutes."""
        with self._lock:
            if time.monotonic() - self._last_answer_s >= _PROBE_INTERVAL_SECONDS:
                probe_address(self.uri)
                self._last_answer_s = time.monotonic()


class MlflowConnection:
    """One MLflow: a server's address or a database that is spoken to directly."""

    def __init__(self, config: RegistryConfig, workspace: Path) -> None:
        """Nothing is opened before the first call; a relative sqlite path is taken from the workspace."""
        self.uri = resolve_uri(read_tracking_uri(config.tracking_uri), workspace)
        self.is_server = is_server(self.uri)
        self._endpoint = MlflowEndpoint(self.uri, _FIX, is_own=True)
        backend = os.environ.get(BACKEND_VARIABLE)
        behind = MlflowEndpoint(backend, _BACKEND_FIX, is_own=False) if backend else None
        self._database = behind if self.is_server else self._endpoint
        self._is_database_down, self._retry_database_s = False, float("-inf")
        self._experiment = config.experiment
        self._artifacts = _find_artifact_folder(self.uri, workspace) / config.experiment
        self._experiment_id: str | None = None
        self._lock = threading.Lock()

    def open_client(self, wanted: str) -> AbstractContextManager[Any]:
        """See `MlflowEndpoint.open_client`."""
        return self._endpoint.open_client(wanted)

    def open_database_client(self, wanted: str) -> Any:
        """A client that speaks to a database, to be used inside `open_client`; None behind a server whose is not known.

        Raises:
            RegistryError: it cannot be reached.
        """
        if self._database is None:
            return None
        with self._database.open_client(wanted) as client:
            return client

    def read_database(self, wanted: str, read: Callable[[Any], _Result]) -> _Result | None:
        """What `read` finds in MLflow's database; None where the server is to be asked.

        That is where its database is not known, or out of reach: then it is told once, and not tried for half a minute.

        Raises:
            RegistryError: as `open_client`, where there is no server.
        """
        if self._database is None or time.monotonic() < self._retry_database_s:
            return None
        try:
            with self._database.open_client(wanted) as client:
                found = read(client)
        except RegistryError as problem:
            if not self.is_server:
                raise
            if not self._is_database_down:
                logging.getLogger(__name__).warning("MLflow's server is asked in place of its database: %s", problem)
            self._is_database_down, self._retry_database_s = True, time.monotonic() + _RETRY_SECONDS
            return None
        self._is_database_down = False
        return found

    def ensure_experiment(self) -> str:
        """The id of the configured experiment, made when missing; to be called inside `open_client`.

        Raises:
            RegistryError: the experiment was deleted in MLflow.
        """
        with self._lock:
            if self._experiment_id is None:
                self._experiment_id = self._make_experiment()
            return self._experiment_id

    def _make_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        api = self._endpoint.api
        experiment = api.get_experiment_by_name(self._experiment)
        if experiment is None:
            location = None if self.is_server else self._artifacts.as_uri()
            try:
                return str(api.create_experiment(self._experiment, artifact_location=location))
            except MlflowException:  # made by another process meanwhile, or refused
                experiment = api.get_experiment_by_name(self._experiment)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            got = f"{self._experiment!r} is deleted"
            raise RegistryError("an active MLflow experiment", got, "restore it in MLflow or name another")
        return str(experiment.experiment_id)


def _find_artifact_folder(uri: str, workspace: Path) -> Path:
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    return (workspace / "var" / "mlflow" / "artifacts").resolve()
