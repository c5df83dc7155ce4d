"""Checks from a worker's machine whether everything that a shard needs can be reached. Changes nothing that stays."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.config import RegistryConfig
from components.data.digests import read_dataset_version
from components.data.dvc import POINTER_FILE, read_default_remote
from components.data.dvc_objects import is_in_remote
from components.errors import PrefixFleetError, WorkersError, WorkspaceError
from components.registry.mlflow.versions import CHAMPION
from components.registry.registry import Registry
from components.storage.object_store import ObjectStore
from components.storage.urls import TRACKING_URI_VARIABLE, format_first_line, hide_password
from flows.local_server import ADDRESS_VARIABLE

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """One thing that a worker needs."""

    name: str
    is_usable: bool | None
    """None: it could not be checked."""
    detail: str


def check_worker(
    root: Path, pool: str, exchange: str | None, registry: RegistryConfig | None, *, in_workspace: bool
) -> list[CheckedPart]:
    """Return what was found of Prefect, the exchange, MLflow and, in a workspace, the DVC remote."""
    tracking = os.environ.get(TRACKING_URI_VARIABLE)
    config = registry or (RegistryConfig(tracking_uri=tracking) if tracking else None)
    return [
        _check("Prefect", lambda: _check_prefect(pool)),
        _check("exchange", (lambda: _check_exchange(exchange)) if exchange else None, "name it with --exchange"),
        _check("MLflow", (lambda: _check_mlflow(config, root)) if config else None, f"set {TRACKING_URI_VARIABLE}"),
        _check("DVC remote", (lambda: _check_remote(root)) if in_workspace else None, "its URL comes with each shard"),
    ]


def _check(name: str, find: Callable[[], str] | None, how: str = "") -> CheckedPart:
    if find is None:
        return CheckedPart(name, None, f"not checked: {how}")
    try:
        return CheckedPart(name, True, find())
    except PrefixFleetError as problem:
        return CheckedPart(name, False, str(problem))


def _check_prefect(pool: str) -> str:
    import httpx

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to create the Prefect home")  # outside a workspace
        from flows.worker_pool import WorkerPool

    address = os.environ.get(ADDRESS_VARIABLE)
    wanted, fix = "a Prefect server", f"set {ADDRESS_VARIABLE} to the address of the server that the parent uses"
    if not address:
        raise WorkersError(wanted, f"no {ADDRESS_VARIABLE}", fix)
    try:
        problem = WorkerPool(pool, "", "").find_problem()
    except httpx.HTTPError as error:
        raise WorkersError(wanted, f"{address}: {format_first_line(error)}", fix) from None
    if problem is not None:
        raise WorkersError(f"work pool {pool!r} on {address}", problem.got, problem.fix)
    return f"{address}, work pool {pool}"


def _check_exchange(url: str) -> str:
    ObjectStore(url, patience_s=_PATIENCE_S).check_writable()
    return url


def _check_mlflow(config: RegistryConfig, root: Path) -> str:
    registry = Registry(config, root)
    count = len(registry.poll_aliased(CHAMPION)[CHAMPION])
    return f"{hide_password(registry.uri)}, {count:,} champions"


def _check_remote(root: Path) -> str:
    remote = read_default_remote(root)
    if remote is None:
        raise WorkspaceError("a DVC remote", f"none in {root}", "run `dvc remote add -d NAME URL`")
    version = read_dataset_version(root / POINTER_FILE)
    state = "has" if is_in_remote(root, remote.name, version) else "does not have"
    return f"{remote.name}, {remote.options.get('url', '')}, {state} dataset version {version[:12]}"
