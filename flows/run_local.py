"""How a door of this process runs a flow. Prefect is imported only here and late: it reads its settings on import."""

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
"""What takes seconds to import."""


def run_flow(name: Literal["dataset", "retrain", "rollout"], root: Path, *given: Any, **further: Any) -> Any:
    """Run a flow on the workspace in this process and return its own result, also of one that ended as failed.

    `given` and `further` are the flow's other parameters.

    Raises:
        WorkspaceError: Prefect's server at PREFECT_API_URL, or its own local one where that is not set, does not start
            or cannot do its work.
        PrefixFleetError: whatever stopped the flow.

    """
    home = Path(os.environ["PREFECT_HOME"])
    with convert_disk_errors(f"make {home}"):
        home.mkdir(parents=True, exist_ok=True)
    import httpx

    from flows.states import read_result

    flow = getattr(import_module(f"flows.{name}"), name)
    try:
        with _import_in_background(_SLOW_IMPORTS[name]):
            _start_server(home)
        return read_result(flow(str(root.resolve()), *given, **further, return_state=True))
    except (RuntimeError, httpx.HTTPError) as problem:
        if isinstance(problem, RuntimeError) and not any(words in str(problem) for words in _SERVER_ERROR_WORDS):
            raise
        raise _make_server_error(home, str(problem).splitlines()[0]) from None


@contextmanager
def _import_in_background(modules: Sequence[str]) -> Iterator[None]:
    """Import what the flow will need beside what is done inside, which waits for another process.

    What cannot be imported fails again where it is needed.
    """

    def each() -> None:
        for module in modules:
            with suppress(Exception):
                import_module(module)

    beside = Thread(target=each, daemon=True)
    beside.start()
    try:
        yield
    finally:
        beside.join()


def _make_server_error(home: Path, got: str) -> WorkspaceError:
    if address := os.environ.get("PREFECT_API_URL"):
        fix = "start it (`prefect server start`), or unset PREFECT_API_URL for a local one"
        return WorkspaceError(f"a Prefect server at {address}", got, fix)
    fix = f"see whether the disk is full, and {home / _SERVER_LOG}; or start a server and set PREFECT_API_URL"
    return WorkspaceError(f"a local Prefect server on files in {home}", got, fix)


def _start_server(home: Path) -> None:
    """Let Prefect start its local server, where it needs one, so that Ctrl-C on a terminal spares it.

    A terminal sends the signal to all processes of a command. Without its server the flow could not say that it was
    stopped, and would try for minutes. The server inherits the mask; it is stopped by SIGTERM when this process ends.
    What it says goes to a file, since the flow tells its caller what went wrong.
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
    """Let stderr, of this process and of those that it starts meanwhile, go to a file; nowhere on a full disk."""
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
