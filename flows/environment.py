"""Environment variables that every flow and command sets first: no telemetry, passive threads, Prefect's files.

A variable that the user has set stays unchanged. Imports no other library, since libraries read these on import.
"""

import logging
import os
import sys
from pathlib import Path

from components.stages.progress import LOGGER_NAME

_NO_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
_THREAD_DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}  # waiting threads that spin make a busy machine six times slower
_PREFECT_DEFAULTS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "prefixfleet",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.console_handler.PlainConsoleHandler",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # lines outside of a flow go to the terminal only
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_API_MAX_PARAMETER_SIZE": "0",  # no limit: the parameters of a shard have 80 bytes per tenant
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def prepare_environment(root: Path) -> None:
    """Set the defaults for this process and its child processes.

    Without PREFECT_API_URL, Prefect runs its own server for the duration of the command, with files in
    <root>/var/prefect. The log lines of stages reach that server. Commands that are installed beside this interpreter
    (dvc, prefixfleet) come first on PATH.
    """
    home = {"PREFECT_HOME": str(root.resolve() / "var" / "prefect")}
    for name, value in {**_NO_TELEMETRY, **_THREAD_DEFAULTS, **_PREFECT_DEFAULTS, **home}.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger(LOGGER_NAME)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if folder not in path.split(os.pathsep):
        os.environ["PATH"] = f"{folder}{os.pathsep}{path}"
