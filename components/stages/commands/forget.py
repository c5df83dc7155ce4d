"""Forget a tenant: remove everything of it from every place, then search for anything left.

Every step can be repeated, so the next run completes one that was stopped. The last step adds a line to the ledger. By
design these stay: the ledger's lines, the listings of older dataset versions (file names and digests), git's history,
the servers' logs, and backups, beside which the tenant is noted. The scheduler's record of runs is passed in.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from components.config import PARAMS_FILE, load_params
from components.config.overrides import OVERRIDES_FOLDER
from components.data.drops import list_pending
from components.data.dvc import POINTER_FILE, has_remote
from components.data.dvc_objects import delete_objects, find_owned_objects
from components.data.intake import QUARANTINE_FOLDER
from components.data.removal import remove_from_dataset
from components.data.schema import list_tenants
from components.errors import ArtifactError, ConfigError, DataError, WorkspaceError
from components.otel.spans import open_root, open_span, traced
from components.registry.manifest import MANIFEST_FILE, read_manifest
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.uploaded_files import list_admin_files_of, remove_file
from components.rollout.types import KEY_ACTIONS, LedgerEntry
from components.stages import dataset, gate
from components.stages.commands.shared_places import refuse_shared_places
from components.stages.forgotten import BACKUP_DIGESTS, note_forgotten
from components.stages.progress import count_nouns, join_abbreviated, log_info
from components.stages.reports import charts
from components.stages.reports.night_files import get_report_folder
from components.stages.rollout.actors import Actor, find_command_actor
from components.stages.rollout.cycle import hold_cycle_lock
from components.stages.rollout.tenant_lock import wait_for_tenant
from components.stages.triggers.arrivals import find_source_files
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree

_COPY_FOLDERS = ("champions", "prefixes", "prefixes-fallback")
"""Folders of var/ that hold copies of registered versions."""
_CYCLE_WAIT_S = 60.0
"""How long it waits for a cycle of the rollout in this workspace."""
_DATABASE_SUFFIXES = (".db", ".db-wal", ".db-shm")


class SchedulerRecord(Protocol):
    """A scheduler's record of its runs."""

    def remove(self, tenant: str) -> None:
        """Delete what names the tenant; can be repeated."""

    def find_remains(self, tenant: str) -> list[str]:
        """Return descriptions of what still names the tenant."""


def forget(workspace: Workspace, tenant: str, by: Actor | None = None, record: SchedulerRecord | None = None) -> None:
    """Remove a tenant from data, its override file, DVC's stores, out/, var/, MLflow and the rollout's database.

    Raises:
        DataError: there is nothing of this tenant.
        ConfigError: params.yaml still names the tenant, or another tenant uses its prefix as shared prefix.
        WorkspaceError: another run is in progress; this is a copy that shares places with its original; DVC, a disk or
            the database fails; or something is left: the error lists it.
        OwnershipError: a version or a run of it belongs to another workspace; nothing was removed.
        RegistryError: MLflow fails, or artifacts are outside of the workspace and its store.
    """
    with open_root("forget", tenant=tenant):
        _refuse_if_referenced(workspace, tenant)
        with workspace.lock(), hold_cycle_lock(workspace, wait_s=_CYCLE_WAIT_S):
            _remove_everything(workspace, tenant, by or find_command_actor(), record)


@traced("search")
def find_remains(workspace: Workspace, tenant: str, record: SchedulerRecord | None = None) -> list[str]:
    """Return descriptions of everything of a tenant that a search finds now."""
    remains = [f"{path.relative_to(workspace.root)}" for path in _find_named_paths(workspace, tenant)]
    remains += [f"its name in {path.relative_to(workspace.root)}" for path in _find_mentioning_files(workspace, tenant)]
    remains += [
        f"{path.relative_to(workspace.root)}, a copy of a version"
        for path in _find_copies_by_manifest(workspace, tenant)
    ]
    if (workspace.root / POINTER_FILE).exists():
        objects = find_owned_objects(workspace.root, tenant)
        remains += [f"{len(names)} objects in the {store}" for store, names in objects.items() if names]
    remains += workspace.registry.find_remaining(tenant) + list_remaining_rows(workspace.database, tenant)
    remains += find_source_files(workspace, tenant)
    remains += [f"the uploaded file {file}" for file in list_admin_files_of(workspace.database, tenant)]
    return remains + (record.find_remains(tenant) if record else [])


def _remove_everything(workspace: Workspace, tenant: str, by: Actor, record: SchedulerRecord | None) -> None:
    workspace.registry.check_removable(tenant)
    refuse_shared_places(workspace, tenant, _list_folders(workspace))
    remains = find_remains(workspace, tenant, record)
    if not remains and not _is_unfinished(workspace, tenant):
        fix = "check the name with `prefixfleet status`"
        raise DataError(f"data, versions or files of {tenant}", "nothing anywhere", fix)
    log_info(f"{tenant}: {count_nouns(len(remains), 'thing')} to remove")
    versions = workspace.registry.find_versions(tenant)
    names = [f"{tenant}-{version.version}" if version.fault else version.sha256 for version in versions]
    with open_span("remove versions"):
        workspace.registry.remove(tenant)
    _remove_data(workspace, tenant)
    _remove_files(workspace, tenant, names)
    with open_span("remove objects"):
        for store, count in delete_objects(workspace.root, tenant).items():
            log_info(f"{tenant}: {count} objects deleted from the {store}")
    if record:
        with open_span("remove records of runs"):
            record.remove(tenant)
    with wait_for_tenant(workspace, tenant):  # a cycle or a retraining on another machine waits
        remove_rows(workspace.database, tenant)  # last: a server may have written rows until its version was gone
        if remains := find_remains(workspace, tenant, record):
            fix = "remove these, and run the same command again"
            raise WorkspaceError(f"nothing left of {tenant}", join_abbreviated(remains, "; "), fix)
        why = "everything was removed"
        entry = LedgerEntry(tenant=tenant, by=by.name, origin=by.origin, action="forget", why=why)
        append_entries(workspace.database, entry)
    log_info(f"{tenant}: forgotten; nothing is left")
    note_forgotten(workspace)


@traced("remove data")
def _remove_data(workspace: Workspace, tenant: str) -> None:
    push = workspace.params.data.push and has_remote(workspace.root)
    if remove_from_dataset(workspace.root, tenant, push=push):
        log_info(f"{tenant}: removed from the data; dataset version {workspace.dataset_version[:12]}")


@traced("remove files")
def _remove_files(workspace: Workspace, tenant: str, names: list[str]) -> None:
    """Remove its files, and its lines from files about all tenants; `names` are those of copies of its versions."""
    with convert_disk_errors(f"remove the files of {tenant}"):
        for path in [
            *_find_named_paths(workspace, tenant),
            *find_cached_copies(workspace, names),
            *_find_copies_by_manifest(workspace, tenant),
        ]:
            remove_tree(path)
        for index in ("digests", BACKUP_DIGESTS):
            (workspace.root / "var" / index).unlink(missing_ok=True)
    for file in list_admin_files_of(workspace.database, tenant):
        remove_file(workspace.database, file)
    _gather_results(workspace)
    for path in _find_mentioning_files(workspace, tenant):
        if path.parent == get_report_folder(workspace):  # `prefixfleet report` writes it again, without the tenant
            path.unlink(missing_ok=True)


def _refuse_if_referenced(workspace: Workspace, tenant: str) -> None:
    if tenant in load_params(workspace.root / PARAMS_FILE).tenants:
        fix = f"remove tenants.{tenant} from params.yaml first"
        raise ConfigError(f"a params.yaml without {tenant}", f"tenants.{tenant} in it", fix)
    params = workspace.params
    users = [other for other in list_tenants(workspace.data) if params.for_tenant(other).train.shared == tenant]
    if users:
        got = f"train.shared of {join_abbreviated(users)}"
        fix = "train these tenants on another shared prefix first"
        raise ConfigError(f"no tenant that uses the prefix of {tenant} as its shared prefix", got, fix)


def _list_folders(workspace: Workspace) -> Iterator[Path]:
    root = workspace.root
    yield from (workspace.data, workspace.drops, root / QUARANTINE_FOLDER, root / OVERRIDES_FOLDER)
    yield from (root / "out", root / "var")


def _walk_files(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder except Prefect's files; links are not followed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name == "prefect" and folder.name == "var":
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk_files(path)


def _find_named_paths(workspace: Workspace, tenant: str) -> list[Path]:
    """Return the topmost files and folders named after the tenant, or after a file that was uploaded for it alone.

    Temporary files of interrupted writes are included.
    """
    list_pending(workspace.drops)  # puts back what an interrupted intake left under other names
    names = {tenant, *list_admin_files_of(workspace.database, tenant)}
    named = [
        path
        for folder in _list_folders(workspace)
        for path in _walk_files(folder)
        if path.name.removeprefix(".").split(".")[0] in names
    ]
    return [path for path in named if not any(parent in named for parent in path.parents)]


def _find_mentioning_files(workspace: Workspace, tenant: str) -> list[Path]:
    """Return the files about several tenants that contain the tenant's name as a word.

    Other tenants' own files and texts are not searched.
    """
    word = re.compile(rb"(?<![-\w])" + re.escape(tenant.encode()) + rb"(?![-\w])")
    paths = [path for pattern in ("out/*", "out/*/*", "var/*") for path in sorted(workspace.root.glob(pattern))]
    texts = [path for path in paths if path.is_file() and path.suffix not in _DATABASE_SUFFIXES]
    return [path for path in texts if path.name.split(".")[0] != tenant and word.search(path.read_bytes())]


def find_cached_copies(workspace: Workspace, names: list[str]) -> Iterator[Path]:
    """Yield the copies of its versions; they are named by content digest, or by version."""
    for folder in _COPY_FOLDERS:
        for name in names:
            yield from (workspace.root / "var" / folder).glob(f"{name}*")


def _find_copies_by_manifest(workspace: Workspace, tenant: str) -> Iterator[Path]:
    """Yield the copies whose manifest names the tenant, even if MLflow no longer has the version."""
    for folder in _COPY_FOLDERS:
        for path in sorted((workspace.root / "var" / folder).glob(f"*/{MANIFEST_FILE}")):
            with suppress(ArtifactError):
                if read_manifest(path.parent).tenant == tenant:
                    yield path.parent


def _is_unfinished(workspace: Workspace, tenant: str) -> bool:
    """Return whether the ledger has moves of the tenant that no `forget` follows."""
    moves = [one for one in read_history(workspace.database, tenant) if one.action not in KEY_ACTIONS]
    return bool(moves) and moves[-1].action != "forget"


def _gather_results(workspace: Workspace) -> None:
    """Write the files about all tenants again, without this one, and commit them to DVC."""
    if not workspace.get_output_folder("train").is_dir() or not list_tenants(workspace.data):
        for folder in (workspace.root / "out").glob("*/"):
            if folder.name != "base":
                for path in folder.iterdir():  # the folder itself may be a link to another disk
                    remove_tree(path)
                if not folder.is_symlink():
                    folder.rmdir()
        return
    dataset.gather_results(workspace)
    gate.gather_results(workspace)
    charts.draw_charts(workspace)
    if (workspace.root / "dvc.lock").exists():
        dataset.commit_to_dvc(workspace)
