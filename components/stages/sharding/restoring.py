"""Fetches a tenant's data, and what the exchange holds of it into a worker's out/: former files, state, results.

What a worker made before and is damaged is ignored, and made again. What the parent sent must be whole.
"""

import tempfile
from pathlib import Path

from components.data.remote_version import RemoteVersion
from components.errors import DamagedError, WorkersError
from components.stages.progress import log_info, log_warning
from components.stages.sharding.exchange_sets import (
    INPUT_SET,
    STATE_SET,
    TRAINED_SET,
    locate_tenant,
    make_evaluated_set,
)
from components.stages.sharding.request import ShardRequest, SharedPrefix
from components.stages.train import STATE_FOLDER
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange, ExchangeFolder


def restore_tenant(
    workspace: Workspace, version: RemoteVersion, exchange: Exchange, request: ShardRequest, tenant: str
) -> bool:
    """Fetch a tenant's data, and its files into out/; return whether its training has ended before, here or elsewhere.

    Raises:
        DataError, WorkspaceError: the data are not to be had.
        WorkersError: the exchange does not answer, files from the parent are damaged, or the shared prefix is missing.
    """
    out = workspace.root / "out"
    folder = exchange.open(*locate_tenant(tenant, request.run_keys[tenant]))
    version.fetch_tenant(tenant)
    folder.fetch(INPUT_SET, out)
    if tenant in request.shared:
        version.fetch_tenant(request.shared[tenant].tenant)
        _fetch_shared(exchange, request.shared[tenant], out, tenant)
    _try_fetch(folder, make_evaluated_set(request, tenant), out, tenant)
    if tenant not in request.reasons:
        return True
    if _try_fetch(folder, TRAINED_SET, out, tenant):
        log_info(f"{tenant}: was trained before; its files are in the exchange")
        return True
    _fetch_state(workspace, folder, tenant, request.run_keys[tenant])
    return False


def _fetch_shared(exchange: Exchange, shared: SharedPrefix, out: Path, tenant: str) -> None:
    if not exchange.open(*locate_tenant(shared.tenant, shared.run_key)).fetch(TRAINED_SET, out):
        fix = "start the parent's run again, which sends it again"
        raise WorkersError(f"the prefix of {shared.tenant}, which {tenant} builds on, in the exchange", "none", fix)


def _fetch_state(workspace: Workspace, folder: ExchangeFolder, tenant: str, run_key: str) -> None:
    """Fetch the state of an interrupted training, unless the parent sent one that is further."""
    from components.training.checkpoint import STATE_FILE, read_saved_step

    place = workspace.get_output_folder("train", tenant) / STATE_FOLDER
    with tempfile.TemporaryDirectory(dir=workspace.root) as side:
        if not _try_fetch(folder, STATE_SET, Path(side), tenant):
            return
        fetched = Path(side, "train", tenant, STATE_FOLDER)
        if read_saved_step(fetched, run_key) > read_saved_step(place, run_key):
            place.mkdir(parents=True, exist_ok=True)
            (fetched / STATE_FILE).replace(place / STATE_FILE)


def _try_fetch(folder: ExchangeFolder, name: str, out: Path, tenant: str) -> bool:
    """Fetch a set that can be made again; a damaged one counts as missing."""
    try:
        return folder.fetch(name, out)
    except DamagedError as problem:
        log_warning(f"{tenant}: what a worker made before is not used: {problem}")
        return False
