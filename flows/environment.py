"""What every door sets before it opens a tool of the stack: no telemetry, patient threads, Prefect's files inside.

A variable that the user has set stays as it is. Imports nothing of the stack, since the tools read these on import.
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
_THREAD_DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait by spinning slow a busy machine six-fold
_PREFECT_DEFAULTS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "prefixfleet",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # a stage's line outside a run is for the terminal alone
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_API_MAX_PARAMETER_SIZE": "0",  # no limit: a shard's parameters have 80 bytes a tenant
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def prepare_environment(root: Path) -> None:
    """Set the defaults for this process and those that it starts.

    Without PREFECT_API_URL Prefect runs a server of its own for the length of the command, whose files are in
    <root>/var/prefect. Lines that stages tell are let through to it. Commands installed beside this interpreter (dvc,
    prefixfleet) are found first.
    """
    home = {"PREFECT_HOME": str(root.resolve() / "var" / "prefect")}
    for name, value in {**_NO_TELEMETRY, **_THREAD_DEFAULTS, **_PREFECT_DEFAULTS, **home}.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger(LOGGER_NAME)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    beside = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if beside not in path.split(os.pathsep):
        os.environ["PATH"] = f"{beside}{os.pathsep}{path}"
