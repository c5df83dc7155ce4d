"""Run a flow in this process. Imports Prefect late, since Prefect reads its settings on import."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from components.config import load_workspace_params
from components.errors import PrefixFleetError, WorkspaceError
from components.stages.workspace import require_workspace
from flows.local_server import ADDRESS_VARIABLE, LocalServer
from flows.quick_imports import import_without_collections

_SERVER_ERROR_WORDS = "Failed to reach API"
_TRAINING_IMPORTS = ("components.training.loop", "components.model.decoding")
_SLOW_IMPORTS: Mapping[str, Sequence[str]] = {
    "dataset": (),
    "retrain": ("components.registry.registry", "components.evaluation.report", *_TRAINING_IMPORTS),
    "migrate": ("components.registry.registry", *_TRAINING_IMPORTS),
    "rollout": ("components.registry.registry",),
    "watch": ("components.registry.registry",),
}
"""Flow -> modules that take seconds to import."""
_TIMEOUT_VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"


def run_flow(
    name: Literal["dataset", "migrate", "retrain", "rollout", "watch"], root: Path, *args: Any, **kwargs: Any
) -> Any:
    """Run a flow on the workspace `root` in this process; return its result, even if its state is failed.

    `args` and `kwargs` are the flow's other parameters.

    Raises:
        WorkspaceError: the Prefect server at PREFECT_API_URL, or the local server if that is not set, does not start
            or does not answer; or `root` is no workspace.
        PrefixFleetError: the error that stopped the flow.

    """
    require_workspace(root)
    server = _use_server()
    import httpx

    try:
        with import_without_collections():
            with _import_in_background([f"flows.{name}", *_list_slow_imports(name, root)]):
                if server is not None:
                    server.wait(float(os.environ[_TIMEOUT_VARIABLE]))
            flow = getattr(import_module(f"flows.{name}"), name)
        state = flow(str(root.resolve()), *args, **kwargs, return_state=True)
        from flows.states import read_result

        return read_result(state)
    except (RuntimeError, httpx.HTTPError) as problem:
        if isinstance(problem, RuntimeError) and _SERVER_ERROR_WORDS not in str(problem):
            raise
        response = getattr(problem, "response", None)
        is_refusal = response is not None and response.status_code in (401, 403)
        raise _make_server_error(server, str(problem).splitlines()[0], is_refusal=is_refusal) from None


_servers: list[LocalServer] = []
"""The local server of this process, once it is started."""


def find_named_server() -> str | None:
    """Return the Prefect server that the user has named: in PREFECT_API_URL, or in the active profile of Prefect's."""
    if _servers:
        return None
    return os.environ.get(ADDRESS_VARIABLE) or _read_profile(Path(os.environ["PREFECT_HOME"]) / "profiles.toml")


def _read_profile(path: Path) -> str | None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = os.environ.get("PREFECT_PROFILE") or content.get("active")
    address = content.get("profiles", {}).get(name, {}).get(ADDRESS_VARIABLE)
    return None if address is None else str(address)


def _use_server() -> LocalServer | None:
    """Return this process's local server, which is started at the first call; None if the user has named a server."""
    if find_named_server():
        with suppress(OSError):  # Prefect warns that it cannot make a folder whose parent is missing
            Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
        return None
    if not _servers:
        _servers.append(LocalServer(Path(os.environ["PREFECT_HOME"])))
        os.environ[ADDRESS_VARIABLE] = _servers[0].address
    return _servers[0]


def _list_slow_imports(name: str, root: Path) -> list[str]:
    """Return the modules that take seconds to import and that the flow will need; workers train instead of a parent."""
    with suppress(PrefixFleetError):  # the flow tells what is wrong with the parameters
        if load_workspace_params(root).workers is not None:
            return [module for module in _SLOW_IMPORTS[name] if module not in _TRAINING_IMPORTS]
    return list(_SLOW_IMPORTS[name])


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


def _make_server_error(server: LocalServer | None, got: str, *, is_refusal: bool) -> WorkspaceError:
    if server is not None:
        return server.make_error(got)
    fix = f"start it (`prefect server start`), or unset {ADDRESS_VARIABLE} to use a local server"
    if is_refusal:
        fix = "give a key with the role operator in PREFECT_API_AUTH_STRING, or the server's password (docs/access.md)"
    return WorkspaceError(f"a Prefect server at {find_named_server()}", got, fix)
