"""Forget a tenant: everything of it goes, wherever it is, and a search shows what is left.

Each step may be done again, so a run that was stopped is finished by the next. The last thing is a line in the ledger
that it happened. What stays by design: the ledger's lines, listings of older dataset versions (names of files and their
digests), git's history, and what servers have written to their logs. A scheduler's record of runs is handed in.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from components.data.drops import pending
from components.data.dvc import POINTER, has_remote
from components.data.dvc_objects import delete_objects, owned_objects
from components.data.intake import QUARANTINE
from components.data.removal import remove_from_dataset
from components.data.schema import tenants_in
from components.errors import ArtifactError, ConfigError, DataError, WorkspaceError
from components.registry.manifest import MANIFEST_FILE, read_manifest
from components.rollout.store.ledger import add, history
from components.rollout.store.removal import remove_rows, rows_left
from components.rollout.types import Entry
from components.stages import dataset, gate
from components.stages.progress import listed, tell
from components.stages.reports import charts
from components.stages.rollout.cycle import between_cycles
from components.stages.rollout.manual import person
from components.stages.workspace import Workspace
from components.storage.atomic_files import disk_errors

_COPIES = ("champions", "prefixes")
"""Folders of var/ with copies of versions."""
_DATABASES = (".db", ".db-wal", ".db-shm")


class Record(Protocol):
    """What a scheduler has written down of runs."""

    def remove(self, tenant: str) -> None:
        """Delete what names a tenant; safe to do again."""

    def left(self, tenant: str) -> list[str]:
        """What still names it, each in words."""


def forget(workspace: Workspace, tenant: str, by: str | None = None, record: Record | None = None) -> None:
    """Remove a tenant from data, DVC's stores, out/, var/, MLflow, the rollout's database, caches and `record`.

    Raises:
        DataError: nothing is known of this tenant.
        ConfigError: params.yaml still names it, or another tenant's prefix stands on its.
        WorkspaceError: another run is at work; DVC, a disk or the database fails; or something is left: it is listed.
        RegistryError: MLflow fails.
    """
    _refuse_named(workspace, tenant)
    with workspace.lock(), between_cycles(workspace):
        _forget(workspace, tenant, by or person(), record)


def left(workspace: Workspace, tenant: str, record: Record | None = None) -> list[str]:
    """What a search finds of a tenant now, each in words."""
    found = [f"{path.relative_to(workspace.root)}" for path in _named_after(workspace, tenant)]
    found += [f"its name in {path.relative_to(workspace.root)}" for path in _naming(workspace, tenant)]
    found += [f"{path.relative_to(workspace.root)}, a copy of a version" for path in _copies(workspace, tenant)]
    if (workspace.root / POINTER).exists():
        objects = owned_objects(workspace.root, tenant)
        found += [f"{len(names)} objects in the {store}" for store, names in objects.items() if names]
    found += workspace.registry.remains(tenant) + rows_left(workspace.database, tenant)
    return found + (record.left(tenant) if record else [])


def _forget(workspace: Workspace, tenant: str, by: str, record: Record | None) -> None:
    found = left(workspace, tenant, record)
    if not found and not _is_unfinished(workspace, tenant):
        raise DataError(f"something of {tenant} to forget", "nothing anywhere", "see `prefixfleet status`")
    tell(f"{tenant}: {len(found)} things to remove")
    digests = [version.sha256 or f"{tenant}-{version.version}" for version in workspace.registry.versions(tenant)]
    workspace.registry.remove(tenant)
    push = workspace.params.data.push and has_remote(workspace.root)
    if remove_from_dataset(workspace.root, tenant, push=push):
        tell(f"{tenant}: dataset version {workspace.dataset_version[:12]} is without it")
    with disk_errors(f"remove the files of {tenant}"):
        for place in [*_named_after(workspace, tenant), *_cached(workspace, digests), *_copies(workspace, tenant)]:
            _remove(place)
        (workspace.root / "var" / "digests").unlink(missing_ok=True)
    _gather(workspace)
    for store, count in delete_objects(workspace.root, tenant).items():
        tell(f"{tenant}: {count} objects deleted from the {store}")
    if record:
        record.remove(tenant)
    with workspace.database.turn(tenant):  # a cycle or retraining of another machine waits, and finds nothing to move
        remove_rows(workspace.database, tenant)  # late, since a server may have written until its version was gone
        if still := left(workspace, tenant, record):
            fix = "remove these, and run the same command again"
            raise WorkspaceError(f"nothing left of {tenant}", listed(still, "; "), fix)
        add(workspace.database, Entry(tenant=tenant, by=by, action="forget", why="everything was removed"))
    tell(f"{tenant}: forgotten; a search found nothing left")


def _refuse_named(workspace: Workspace, tenant: str) -> None:
    params = workspace.params
    if tenant in params.tenants:
        fix = "take its override out first: git keeps the file's history"
        raise ConfigError(f"a params.yaml without {tenant}", f"tenants.{tenant} in it", fix)
    standing = [other for other in tenants_in(workspace.data) if params.for_tenant(other).train.shared == tenant]
    if standing:
        got = f"train.shared of {listed(standing)}"
        raise ConfigError(f"nobody whose prefix stands on that of {tenant}", got, "train these on another first")


def _folders(workspace: Workspace) -> Iterator[Path]:
    root = workspace.root
    yield from (workspace.data, workspace.drops, root / QUARANTINE, root / "out", root / "var")


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder but Prefect's own files; never through a link."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name == "prefect" and folder.name == "var":
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)


def _named_after(workspace: Workspace, tenant: str) -> list[Path]:
    """The topmost files and folders whose name is the tenant's."""
    pending(workspace.drops)  # what an interrupted intake left under other names is put back
    named = [path for folder in _folders(workspace) for path in _files(folder) if path.name.split(".")[0] == tenant]
    return [path for path in named if not any(parent in named for parent in path.parents)]


def _naming(workspace: Workspace, tenant: str) -> list[Path]:
    """Files that tell of all tenants and have its name in them, as a word; what other tenants' texts say is theirs."""
    word = re.compile(rb"(?<![-\w])" + re.escape(tenant.encode()) + rb"(?![-\w])")
    told = [path for pattern in ("out/*", "out/*/*", "var/*") for path in sorted(workspace.root.glob(pattern))]
    texts = [path for path in told if path.is_file() and path.suffix not in _DATABASES]
    return [path for path in texts if path.name.split(".")[0] != tenant and word.search(path.read_bytes())]


def _cached(workspace: Workspace, digests: list[str]) -> Iterator[Path]:
    """Copies of its versions, which are named by their content."""
    for folder in _COPIES:
        for digest in digests:
            yield from (workspace.root / "var" / folder).glob(f"{digest}*")


def _copies(workspace: Workspace, tenant: str) -> Iterator[Path]:
    """Copies whose manifest says that they are the tenant's, whatever the registry still knows of them."""
    for folder in _COPIES:
        for path in sorted((workspace.root / "var" / folder).glob(f"*/{MANIFEST_FILE}")):
            with suppress(ArtifactError):
                if read_manifest(path.parent).tenant == tenant:
                    yield path.parent


def _is_unfinished(workspace: Workspace, tenant: str) -> bool:
    """Whether moves of the tenant are known, and no line yet that it was forgotten since."""
    moves = history(workspace.database, tenant)
    return bool(moves) and moves[-1].action != "forget"


def _gather(workspace: Workspace) -> None:
    """Write what is told of all tenants again, without this one; let DVC know."""
    if not workspace.out("train").is_dir() or not tenants_in(workspace.data):
        for folder in (workspace.root / "out").glob("*/"):
            if folder.name != "base":
                shutil.rmtree(folder)
        return
    dataset.finish(workspace)
    gate.finish(workspace)
    charts.draw(workspace)
    if (workspace.root / "dvc.lock").exists():
        dataset.record(workspace)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
