"""Run a flow in this process. Imports Prefect late, since Prefect reads its settings on import."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from components.errors import WorkspaceError
from components.stages.workspace import require_workspace
from components.storage.atomic_files import convert_disk_errors

_SERVER_ERROR_WORDS = ("ephemeral Prefect API server", "Failed to reach API")
_SERVER_LOG = "server.log"
_SLOW_IMPORTS: Mapping[str, Sequence[str]] = {
    "dataset": (),
    "retrain": (
        "components.registry.registry",
        "components.training.loop",
        "components.model.decoding",
        "components.evaluation.report",
    ),
    "rollout": ("components.registry.registry",),
}
"""Flow -> modules that take seconds to import."""


def run_flow(name: Literal["dataset", "retrain", "rollout"], root: Path, *args: Any, **kwargs: Any) -> Any:
    """Run a flow on the workspace `root` in this process; return its result, even if its state is failed.

    `args` and `kwargs` are the flow's other parameters.

    Raises:
        WorkspaceError: the Prefect server at PREFECT_API_URL, or the local server if that is not set, does not start
            or does not answer; or `root` is no workspace.
        PrefixFleetError: the error that stopped the flow.

    """
    require_workspace(root)
    home = Path(os.environ["PREFECT_HOME"])
    with convert_disk_errors(f"make {home}"):
        home.mkdir(parents=True, exist_ok=True)
    import httpx

    from flows.states import read_result

    flow = getattr(import_module(f"flows.{name}"), name)
    try:
        with _import_in_background(_SLOW_IMPORTS[name]):
            _start_server(home)
        return read_result(flow(str(root.resolve()), *args, **kwargs, return_state=True))
    except (RuntimeError, httpx.HTTPError) as problem:
        if isinstance(problem, RuntimeError) and not any(words in str(problem) for words in _SERVER_ERROR_WORDS):
            raise
        raise _make_server_error(home, str(problem).splitlines()[0]) from None


@contextmanager
def _import_in_background(modules: Sequence[str]) -> Iterator[None]:
    """Import modules in a thread while the block waits for another process.

    Import errors are ignored: the flow's own import raises them again.
    """

    def import_all() -> None:
        for module in modules:
            with suppress(Exception):
                import_module(module)

    thread = Thread(target=import_all, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _make_server_error(home: Path, got: str) -> WorkspaceError:
    if address := os.environ.get("PREFECT_API_URL"):
        fix = "start it (`prefect server start`), or unset PREFECT_API_URL to use a local server"
        return WorkspaceError(f"a Prefect server at {address}", got, fix)
    fix = f"check the disk space and the log {home / _SERVER_LOG}, or start a server and set PREFECT_API_URL"
    return WorkspaceError(f"a local Prefect server with files in {home}", got, fix)


def _start_server(home: Path) -> None:
    """Let Prefect start its local server, if it needs one, with SIGINT blocked.

    On Ctrl-C a terminal sends SIGINT to all processes of a command. If that stopped the server, the flow could not
    report its end and would retry for minutes. The server inherits the blocked signal; SIGTERM stops it when this
    process ends. Its output goes to a file, since the flow reports errors to its caller.
    """
    from prefect.client.orchestration import get_client

    with _block_interrupts(), _redirect_stderr(home / _SERVER_LOG), get_client(sync_client=True):
        pass


@contextmanager
def _block_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _redirect_stderr(path: Path) -> Iterator[None]:
    """Redirect stderr of this process and of new child processes to a file, or to nothing if the disk is full."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        log = os.open(path, flags, 0o644)
    except OSError:
        log = os.open(os.devnull, flags)
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(log, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(log)
