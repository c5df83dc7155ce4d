"""Makes a backup of a fleet: everything that another machine needs to go on with it, from one moment.

The order makes the copies fit together: the rollout's database, then MLflow's, whose versions its rows name, then the
artifacts and dataset versions that MLflow's rows name. Meanwhile no run and no cycle of the rollout works in this
workspace; servers go on. What never changes is copied before that, so that the lock is held for a short time. The
manifest is written last: a backup that is stopped leaves only objects, which the next one does not copy again.
"""

import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.data.digest_cache import DigestCache
from components.data.drops import list_pending
from components.data.swap import recover_swap
from components.errors import BackupError, WorkspaceError
from components.otel.spans import open_root, open_span, traced
from components.registry.mlflow.store_places import StorePlaces, read_places
from components.registry.mlflow.versions import CHAMPION
from components.stages.backup import artifacts, git_state, workspace_files
from components.stages.backup.databases import MLFLOW, FleetDatabases
from components.stages.backup.dataset_objects import send_dataset_versions
from components.stages.backup.keeping import remove_old
from components.stages.forgotten import BACKUP_DIGESTS, write_forgotten
from components.stages.progress import join_abbreviated, log_info, log_warning
from components.stages.rollout.cycle import hold_cycle_lock
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, hold_file_lock, remove_tree
from components.storage.backups.manifest import BackupManifest, StoredFile, count_parts, format_listing
from components.storage.backups.sender import Sender
from components.storage.backups.store import BackupStore, open_backups
from components.storage.urls import to_local_path
from components.storage.workspace_identity import open_identity

_CYCLE_WAIT_S = 60.0
_VARIABLES = (
    *("PREFIXFLEET_", "MLFLOW_TRACKING_", "MLFLOW_BACKEND_", "MLFLOW_ARTIFACTS_", "MLFLOW_S3_"),
    *("AWS_", "GOOGLE_APPLICATION_", "PREFECT_API_"),
)
"""Beginnings of the environment variables whose names, without values, are noted for the restore."""


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What a backup did."""

    manifest: BackupManifest
    removed: list[str] = field(default_factory=list)
    """Ids of older backups that were removed."""


def make_backup(workspace: Workspace, target: str, keep: int | None = None) -> BackupResult:
    """Copy the fleet to `target`; then remove all but the newest `keep` backups, if it is given.

    Raises:
        BackupError: the target is in the workspace, has backups of another one, or damages what is written to it.
        LockHeldError: another run works in this workspace.
        ConfigError: a file of settings has a password.
        RegistryError, WorkspaceError, WorkersError: MLflow, a database, DVC, git, the disk or the target fails.
    """
    root, store = workspace.root, open_backups(target)
    local = to_local_path(store.url)
    if local is not None and local.resolve().is_relative_to(root):
        raise BackupError("a target outside of the workspace", str(local), "name a folder on another disk, or a URL")
    place = root / "var" / "backup"
    with open_root("backup") as span, hold_file_lock(place / "lock", place, "wait until that backup ends"):
        scratch = place / "scratch"
        with convert_disk_errors(f"write {scratch}"):
            remove_tree(scratch)
            scratch.mkdir()
        try:
            manifest = _Backup(workspace, store, scratch).make()
        finally:
            remove_tree(scratch)
        span.set(backup=manifest.id, files=manifest.file_count, bytes=manifest.byte_count)
        span.set(new_bytes=manifest.new_bytes)
        write_forgotten(store, workspace.database)
        with open_span("remove older backups"):
            removed = remove_old(store, keep) if keep is not None else []
    return BackupResult(manifest, removed)


class _Backup:
    """One backup at work."""

    def __init__(self, workspace: Workspace, store: BackupStore, scratch: Path) -> None:
        self._workspace, self._store, self._scratch = workspace, store, scratch
        workspace_files.refuse_passwords(workspace.root)
        self._identity = open_identity(workspace.root)
        self._id = _make_id(store)
        self._began = datetime.now(UTC)
        self._databases = FleetDatabases(workspace)
        workspace.database.close()  # its tables are there, and of this release
        workspace.registry.poll_aliased(CHAMPION)  # MLflow answers, and its locations follow a workspace that was moved
        self._digests = DigestCache(workspace.root / "var" / BACKUP_DIGESTS, workspace.root)
        self._sender = Sender(store, self._read_former(), self._digests.digest_file, scratch)

    def make(self) -> BackupManifest:
        root, sender = self._workspace.root, self._sender
        with open_span("copy artifacts"):
            sender.send(artifacts.list_artifacts(self._read_places()))
        with open_span("copy under the locks"), ExitStack() as locks:
            locks.enter_context(self._workspace.lock())
            locks.enter_context(hold_cycle_lock(self._workspace, wait_s=_CYCLE_WAIT_S))
            sender.list_again()  # a tenant may have been forgotten meanwhile
            recover_swap(root)
            list_pending(self._workspace.drops)  # puts back what an interrupted intake left under other names
            sender.send(workspace_files.list_uploads(self._workspace))
            with open_span("copy databases"):
                copies = self._databases.copy(self._scratch)
                sender.send(source for _, source in copies)
            places = self._read_places()
            sender.send(artifacts.list_artifacts(places))
            sender.send(workspace_files.list_uploads(self._workspace))  # again: rows may name newer ones
            with open_span("copy dataset versions"):
                missing = send_dataset_versions(sender, self._workspace, places.dataset_versions)
            git = git_state.read_git_state(root)
            sender.send(git_state.list_bundle(root, git))
            sender.send(workspace_files.list_workspace_files(self._workspace, git))
        incomplete = artifacts.find_incomplete(places, set(sender.files))
        if incomplete:
            log_warning(f"not in the backup, since MLflow's store lacks their files: {join_abbreviated(incomplete)}")
        facts: dict[str, Any] = {
            "folder": str(root),
            "git": None if git is None else asdict(git),
            "databases": [asdict(one) for one, _ in copies],
            "locations": [{"uri": one.uri, "place": self._find_place(one.url)} for one in places.locations],
            "versions": len(places.sources),
            "incomplete": incomplete,
            "missing_objects": missing,
            "outside": workspace_files.list_outside(self._workspace),
            "variables": sorted(name for name in os.environ if name.startswith(_VARIABLES)),
        }
        try:
            self._digests.save()
        except WorkspaceError as problem:
            log_warning(f"digests of files not saved, the next backup reads the files again: {problem}")
        return self._publish(facts)

    @traced("publish")
    def _publish(self, facts: dict[str, Any]) -> BackupManifest:
        sender = self._sender
        listing = sender.write(format_listing(sender.files))
        sender.check([listing])
        manifest = BackupManifest(
            id=self._id,
            source=self._identity.id,
            product_version=_find_version(),
            began_at=self._began.isoformat(timespec="seconds"),
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            listing=listing,
            parts=count_parts(sender.files),
            new_bytes=sender.new_bytes,
            facts=facts,
        )
        self._store.publish(manifest)
        return manifest

    def _read_former(self) -> dict[str, StoredFile]:
        """Return the files of the newest backup that can be read.

        Raises:
            BackupError: it is of another workspace.
        """
        for backup_id in reversed(self._store.list_ids()):
            try:
                manifest = self._store.read_manifest(backup_id)
                files = self._store.read_listing(manifest)
            except BackupError as problem:
                log_warning(f"everything is compared with the store again, since a backup cannot be read: {problem}")
                continue
            if manifest.source != self._identity.id:
                got = f"backups of another one (id {manifest.source}, {manifest.facts['folder']})"
                fix = "name another folder; after a restore whose original still exists, the copy needs its own"
                raise BackupError(f"a place for the backups of this workspace (id {self._identity.id}) alone", got, fix)
            return files
        log_info(f"no earlier backup at {self._store.url}: everything is copied")
        return {}

    def _read_places(self) -> StorePlaces:
        return read_places(self._databases.urls[MLFLOW], self._workspace.params.registry.experiment)

    def _find_place(self, url: str) -> str:
        path = Path(url)
        return str(path.relative_to(self._workspace.root)) if path.is_relative_to(self._workspace.root) else ""


def _make_id(store: BackupStore) -> str:
    start, known = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", set(store.list_ids())
    return next(
        name for count in range(len(known) + 1) if (name := f"{start}-{count}" if count else start) not in known
    )


def _find_version() -> str:
    try:
        return version("prefixfleet")
    except PackageNotFoundError:
        return "unknown"
