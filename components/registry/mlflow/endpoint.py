"""One address of MLflow: short timeouts, and errors as RegistryError. Knows MLflow's client and its tables' reader."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from components.errors import RegistryError
from components.registry.mlflow.probe import enable_write_ahead_log, probe_address
from components.registry.mlflow.quiet import quiet_mlflow
from components.storage.urls import format_first_line, hide_password

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from components.registry.mlflow.tables import DatabaseReader

DISK_FIX = "free space on the database's disk, or repair it"

_PROBE_INTERVAL_SECONDS = 5.0

_Result = TypeVar("_Result")


class MlflowEndpoint:
    """One address for MLflow's client: a server or a database."""

    def __init__(self, uri: str, fix: str, *, is_own: bool) -> None:
        """Open nothing yet; `fix` is the third part of the error if the address does not answer.

        `is_own`: no MLflow server uses this database; if it is SQLite, its write-ahead log is enabled.
        """
        self.uri, self._fix, self._is_own = uri, fix, is_own
        self._last_answer_s = float("-inf")
        self._lock = threading.Lock()

    @cached_property
    def api(self) -> Any:
        """MLflow's client; use it only inside `open_client`."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        if self._is_own:
            enable_write_ahead_log(self.uri)
        return client

    @cached_property
    def _reader(self) -> "DatabaseReader":
        from components.registry.mlflow.tables import DatabaseReader

        return DatabaseReader(self.uri)

    def read_tables(self, wanted: str, read: "Callable[[Connection], _Result]") -> _Result | None:
        """Return `read(connection)` on the database at this address; None if its tables are not known.

        Raises:
            RegistryError: as `open_client`.
        """
        import sqlalchemy

        try:
            with self._reader.connect() as connection:
                return None if connection is None else read(connection)
        except (sqlalchemy.exc.SQLAlchemyError, OSError) as problem:
            raise self._make_error(wanted, problem) from problem

    @contextmanager
    def open_client(self, wanted: str) -> Iterator[Any]:
        """Yield an MlflowClient for a block of calls; failures become a RegistryError with `wanted` as first part.

        Raises:
            RegistryError: MLflow did not answer within about 10 s, or refused; the message has its first line.
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
                raise self._make_error(wanted, problem) from problem

    def _make_error(self, wanted: str, problem: Exception) -> RegistryError:
        message = format_first_line(problem)
        fix = DISK_FIX if "disk" in message else self._fix
        if _get_status(problem) in (401, 403):
            fix = "give a key with the role operator in MLFLOW_TRACKING_TOKEN, or MLflow's password (docs/access.md)"
        return RegistryError(wanted, f"{message} (MLflow at {hide_password(self.uri)})", fix)

    def _probe_if_stale(self) -> None:
        """Check with a short timeout that MLflow answers: its own client would retry for minutes."""
        with self._lock:
            if time.monotonic() - self._last_answer_s >= _PROBE_INTERVAL_SECONDS:
                probe_address(self.uri)
                self._last_answer_s = time.monotonic()


def _get_status(problem: Exception) -> int | None:
    """Return the HTTP status of MLflow's answer; None: there was none."""
    response = getattr(problem, "response", None)
    if response is not None:
        return int(response.status_code)
    read_status = getattr(problem, "get_http_status_code", None)
    return int(read_status()) if read_status is not None else None
