"""Builds a folder on a worker that looks like the parent's workspace: parameters, dataset version, base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.config import PARAMS_FILE
from components.config.yaml_file import format_yaml
from components.data.dvc import POINTER_FILE, DvcRemote
from components.errors import WorkersError
from components.stages.sharding.base_cache import fetch_base
from components.stages.sharding.request import ShardRequest
from components.stages.workspace import Workspace
from components.storage.atomic_files import write_atomic
from components.storage.exchange import Exchange

_COMPARED = {"digest": "the model", "tokenizer_digest": "the tokenizer", "dtype": "the numbers' type"}
"""Fields of base.json that parent and worker must have in common."""


def build_scratch_workspace(request: ShardRequest, exchange: Exchange, folder: Path, base_cache: Path) -> Workspace:
    """Make a workspace in the missing folder `folder`, still without data; the base stays in the cache.

    Raises:
        WorkersError: the exchange does not answer, or does not have the base.
        WorkspaceError: the DVC remote is a folder that is not here, or the disk is full.
    """
    params = request.params
    DvcRemote(request.dvc.remote, request.dvc.options).check_present()
    if request.is_base_sent:
        path = fetch_base(exchange, request.base, base_cache)
        params = {**params, "base": {**params["base"], "path": str(path)}}
    write_atomic(folder / POINTER_FILE, request.dvc.pointer.encode())
    write_atomic(folder / PARAMS_FILE, format_yaml(params).encode())
    return Workspace(folder)


def check_base(workspace: Workspace, facts: Mapping[str, Any]) -> None:
    """Load the base and compare it with the parent's base.json.

    Raises:
        WorkersError: it is another one.
        BaseModelError: it cannot be loaded.
    """
    from components.model.base.load import describe_base

    found = describe_base(workspace.base)
    different = [name for name in _COMPARED if found[name] != facts[name]]
    if different:
        wanted = " and ".join(f"{_COMPARED[name]} {facts[name]}" for name in different)
        got = " and ".join(f"{found[name]}" for name in different)
        fix = "use the same base.path, base.revision and library versions on the parent and on all workers"
        raise WorkersError(f"the parent's base {facts['name']}, with {wanted}", got, fix)
