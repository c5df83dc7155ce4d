"""Python processes that a forked command starts, forked by the same server."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from forked_process import ForkedProcess, can_be_forked, run_forked

_SIGNALLED = ("components.data.dvc", "flows.local_server")
STARTERS = (*_SIGNALLED, "components.fine_tuning.job_process", "mlflow.utils.process")
"""Modules that start Python processes by `subprocess`."""


def fork_children(*, leads_session: bool) -> None:
    """Let these modules start what can be forked by the server, in this process.

    `leads_session`: a test sends signals to this process's group and looks for its children, so most stay children.
    """
    for name in STARTERS[len(_SIGNALLED) * leads_session :]:
        own = SimpleNamespace(**{**vars(subprocess), "Popen": start_child, "run": run_forked})
        import_module(name).subprocess = own  # type: ignore[attr-defined]


def start_child(command: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> Any:
    """Start a command as `subprocess.Popen` does; a forked one ends at the latest when this process ends.

    One that leads a session of its own outlives this process.
    """
    environment = os.environ if env is None else env
    if not can_be_forked(command, environment):
        return subprocess.Popen(command, env=env, **options)
    leads = options.get("start_new_session", False)
    known = {"stdout": None, "stderr": None, "text": False, "start_new_session": leads} | options
    return ForkedProcess(command, Path(known.pop("cwd", ".")), environment, ends_with_client=not leads, **known)
