"""Whether servers outside of the workspace read a params.yaml that says the same as the workspace's.

PREFIXFLEET_SERVER_PARAMS names their file, as infra/kubernetes does: the gateways there have a ConfigMap, and no
workspace. Compared are the sections that both read. Does not know servers.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.config import Params, load_params
from components.config.problems import format_value
from components.errors import ConfigError
from components.stages.progress import join_abbreviated, log_warning
from components.stages.workspace import Workspace

FILE_VARIABLE = "PREFIXFLEET_SERVER_PARAMS"
_SECTIONS = {"base", "evaluate", "rollout", "access", "prices", "budget"}
_EACH_ITS_OWN = {"base.path", "base.device_map", "access.max_files", "access.max_tuning_jobs"}
"""Where the base is, and its devices, differ between machines; uploads need a workspace."""


def find_server_file() -> Path | None:
    """Return the params.yaml of servers outside of the workspace; None: there are none."""
    name = os.environ.get(FILE_VARIABLE)
    return Path(name) if name else None


def compare_with_servers(workspace: Workspace, file: Path) -> list[str]:
    """Return each setting that differs, with both values. Raises ConfigError: the servers' file cannot be read."""
    return list(_compare(workspace.params, load_params(file)))


def warn_about_servers(workspace: Workspace) -> None:
    """Log a warning if the servers' file differs, or cannot be read."""
    if (file := find_server_file()) is None:
        return
    try:
        differences = compare_with_servers(workspace, file)
    except ConfigError as problem:
        log_warning(f"the servers' settings cannot be compared with the workspace's: {problem}")
        return
    if differences:
        found = join_abbreviated(differences, "; ")
        log_warning(f"{file}, which the servers read, is not as the workspace's params.yaml: {found}")


def _compare(own: Params, servers: Params) -> Iterator[str]:
    of_all = list(_compare_values(own, servers, ""))
    yield from of_all
    for tenant in sorted({*own.tenants, *servers.tenants}):
        if own.tenants.get(tenant) == servers.tenants.get(tenant):
            continue
        of_tenant = _compare_values(own.for_tenant(tenant), servers.for_tenant(tenant), "")
        yield from (f"tenants.{tenant}.{one}" for one in of_tenant if one not in of_all)


def _compare_values(own: Any, servers: Any, path: str) -> Iterator[str]:
    if isinstance(own, Params):
        own, servers = (one.model_dump(include=_SECTIONS) for one in (own, servers))
    if isinstance(own, Mapping) and isinstance(servers, Mapping):
        for key in sorted({*own, *servers}):
            yield from _compare_values(own.get(key), servers.get(key), f"{path}.{key}" if path else str(key))
    elif own != servers and path not in _EACH_ITS_OWN:
        yield f"{path}: {format_value(own)} here, {format_value(servers)} there"
