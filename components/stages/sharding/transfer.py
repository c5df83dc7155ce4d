"""What the parent sends to the exchange for a shard, and how it places what a worker made where a local run leaves it.

Files are fetched into var/incoming and verified there, so a damaged or half fetched set changes nothing in out/. Does
not know which worker trains, or when.
"""

from collections.abc import Sequence
from pathlib import Path

from components.data.dvc import POINTER_FILE, push, read_default_remote
from components.data.dvc_objects import is_in_remote
from components.errors import DamagedError
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.stages.plan import PlanItem, find_reason
from components.stages.progress import log_info
from components.stages.sharding.exchange_sets import (
    BASE_SET,
    INPUT_SET,
    STATE_SET,
    TRAINED_SET,
    list_tenant_files,
    locate_base,
    locate_shard,
    locate_tenant,
)
from components.stages.sharding.request import ShardRequest, write_request
from components.stages.stamps import STAMP_FILE, read_json
from components.stages.train import STATE_FOLDER
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree
from components.storage.exchange import Exchange

_BASE_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model"})
_LAST_FILES = (TENSORS_FILE, MANIFEST_FILE)
"""Placed after the other files, so that an artifact in out/train is new only with all that belongs to it."""


def send_data(workspace: Workspace) -> None:
    """Push the dataset version to the DVC remote if it is not there. Raises WorkspaceError."""
    remote, version = read_default_remote(workspace.root), workspace.dataset_version
    if remote is not None and not is_in_remote(workspace.root, remote.name, version):
        log_info(f"pushing dataset version {version[:12]} to the DVC remote {remote.name}, from which workers fetch it")
        push(workspace.root, POINTER_FILE)


def send_base(workspace: Workspace, exchange: Exchange, request: ShardRequest) -> None:
    """Send the base if it is a folder and not yet in the exchange. Raises WorkersError."""
    if not request.is_base_sent:
        return
    folder, target = Path(workspace.base_config.path), exchange.open(*locate_base(request.base))
    if not target.has(BASE_SET):
        names = [path.name for path in folder.iterdir() if path.is_file() and path.suffix in _BASE_SUFFIXES]
        target.put(BASE_SET, folder, sorted(names))


def send_shard(workspace: Workspace, exchange: Exchange, request: ShardRequest, items: Sequence[PlanItem]) -> None:
    """Send what the tenants of a shard need beside their data, then its request. Raises WorkersError."""
    for shared in {one.tenant: one for one in request.shared.values()}.values():
        _send_shared(workspace, exchange, shared.tenant, shared.run_key)
    for item in items:
        _send_input(workspace, exchange, item, request.run_keys[item.tenant])
    write_request(exchange.open(*locate_shard(request.shard_id)), request)


def _send_shared(workspace: Workspace, exchange: Exchange, tenant: str, run_key: str) -> None:
    folder = exchange.open(*locate_tenant(tenant, run_key))
    if not folder.has(TRAINED_SET):
        out = workspace.get_output_folder("train").parent
        folder.put(TRAINED_SET, out, list_tenant_files(out, "train", tenant))


def _send_input(workspace: Workspace, exchange: Exchange, item: PlanItem, run_key: str) -> None:
    """Send the state to resume or warm start from, the artifact that is only evaluated, and scores that may stand."""
    out, tenant = workspace.get_output_folder("train").parent, item.tenant
    trained = list_tenant_files(out, "train", tenant)
    states = [name for name in trained if name.startswith(f"train/{tenant}/{STATE_FOLDER}/")]
    if item.reason:
        is_used = item.train.warm_start or _read_saved_step(workspace, tenant, run_key)
        files = states if is_used else []
    else:
        files = [name for name in trained if name not in states]
    if _has_reusable_scores(workspace, item):
        files += list_tenant_files(out, "evaluate", tenant)
    if files:
        exchange.open(*locate_tenant(tenant, run_key)).put(INPUT_SET, out, files)


def _read_saved_step(workspace: Workspace, tenant: str, run_key: str) -> int:
    from components.training.checkpoint import read_saved_step

    return read_saved_step(workspace.get_output_folder("train", tenant) / STATE_FOLDER, run_key)


def _has_reusable_scores(workspace: Workspace, item: PlanItem) -> bool:
    """Return whether a score in out/evaluate is of the present data; any other is made again in any case."""
    folder = workspace.get_output_folder("evaluate", item.tenant)
    stamps = (read_json(path) or {} for path in folder.rglob(STAMP_FILE))
    return any(stamp.get("inputs", {}).get("data_digest") == item.data_digest for stamp in stamps)


def place_trained(workspace: Workspace, exchange: Exchange, item: PlanItem, run_key: str, base_digest: str) -> bool:
    """Place what a finished training made in out/train/<tenant>; return False if it is not in the exchange.

    Raises:
        DamagedError: it is damaged, or not what was planned and then removed from the exchange.
        WorkersError: the store refuses or does not answer.
        WorkspaceError: the disk is full.
    """
    if not _place(workspace, exchange, item.tenant, run_key, TRAINED_SET, "train"):
        return False
    reason, _ = find_reason(workspace, item, base_digest)
    if reason:
        exchange.open(*locate_tenant(item.tenant, run_key)).remove()
        raise DamagedError(f"{item.tenant}'s prefix as planned, from a worker", reason, "run again")
    return True


def place_evaluated(workspace: Workspace, exchange: Exchange, tenant: str, run_key: str, name: str) -> bool:
    """Place the scores of the set `name` in out/evaluate/<tenant>; return False if it is not in the exchange.

    Raises as `place_trained`.
    """
    return _place(workspace, exchange, tenant, run_key, name, "evaluate")


def place_state(workspace: Workspace, exchange: Exchange, tenant: str, run_key: str) -> bool:
    """Place the last state of an interrupted training; return False if there is none. Raises as `place_evaluated`."""
    return _place(workspace, exchange, tenant, run_key, STATE_SET, "train")


def _place(workspace: Workspace, exchange: Exchange, tenant: str, run_key: str, name: str, stage: str) -> bool:
    source = exchange.open(*locate_tenant(tenant, run_key))
    incoming = workspace.root / "var" / "incoming" / tenant
    with convert_disk_errors(f"make {incoming}"):
        remove_tree(incoming)
        incoming.mkdir(parents=True)
    try:
        if not source.fetch(name, incoming):
            return False
        target = workspace.get_output_folder(stage, tenant)
        with convert_disk_errors(f"write {target}"):
            names = _move_files(incoming / stage / tenant, target)
            if stage == "evaluate":
                _remove_others(target, names)
    finally:
        remove_tree(incoming)
    return True


def _move_files(source: Path, target: Path) -> set[str]:
    """Move all files to the same names in `target`; return the names, relative to it."""
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    for name in sorted(names, key=lambda name: (_LAST_FILES.index(name) + 1 if name in _LAST_FILES else 0, name)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target / name)
    return set(names)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove the files that are not in `names`, and folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()
