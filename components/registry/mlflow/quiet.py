"""Calls of MLflow without log lines and telemetry, and with short timeouts.

MLflow reads its timeouts and its telemetry switch from the environment and logs through its own handlers: both are
changed during our calls and restored afterwards.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # also saves a call
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool")

_quiet_lock = threading.RLock()
_quiet_depth = 0
_saved_environment: dict[str, str | None] = {}
_saved_levels: dict[str, int] = {}


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Inside the block MLflow logs nothing, sends no telemetry and has short timeouts. Reentrant and thread-safe.

    Variables that the user has set are kept. Failures are raised as exceptions, so the logs are not needed.
    """
    global _quiet_depth
    with _quiet_lock:
        if _quiet_depth == 0:
            _saved_environment.update({name: os.environ.get(name) for name in _ENVIRONMENT})
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            import mlflow  # noqa: F401 - configures its loggers, so their levels are saved after it

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
