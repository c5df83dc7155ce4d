"""Restores a backup into a new folder: fetch and verify everything, then put it in place, then let it find itself.

Nothing is changed before every object is here and matches its digest. Files are assembled in `.restoring` in the new
folder; PostgreSQL databases are filled whole or not at all. Knows the names in a backup; `finishing` does the rest.
"""

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import BackupError, WorkspaceError
from components.otel.spans import open_root, open_span, traced
from components.stages.backup.databases import DatabaseFacts, choose_targets
from components.stages.backup.finishing import FinishedRestore, finish_restore
from components.stages.backup.git_state import GitState
from components.stages.backup.placing import Placer
from components.stages.backup.restored_artifacts import plan_artifacts
from components.stages.progress import log_info
from components.storage.atomic_files import convert_disk_errors, remove_tree
from components.storage.backups.manifest import BackupManifest, StoredFile
from components.storage.backups.store import THREADS, BackupStore, open_backups
from components.storage.database_copies import POSTGRESQL, read_dialect, restore_database

_STAGING = ".restoring"
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did."""

    manifest: BackupManifest
    workspace: Path
    finished: FinishedRestore
    filled: list[str] = field(default_factory=list)
    """URLs of the PostgreSQL databases that were filled."""


def restore_backup(
    source: str,
    folder: Path,
    *,
    backup_id: str | None = None,
    database: str | None = None,
    mlflow: str | None = None,
    artifacts: str | None = None,
) -> RestoreResult:
    """Restore a backup (the newest, unless `backup_id` names one) into a new or empty folder.

    `database` and `mlflow` are empty PostgreSQL databases for the rollout's and MLflow's copies, if they are of
    PostgreSQL. `artifacts` is a folder or URL for MLflow's artifacts; None: the new workspace.

    Raises:
        BackupError: there is no such backup, it is damaged or of a newer release, or an option is missing.
        WorkspaceError: the folder is not empty, a database is not, or the disk, git, DVC or pg_restore fails.
        WorkersError: the store of the backups fails.
        PrefixFleetError: after everything was restored: a tenant could not be forgotten again.
    """
    with open_root("restore") as span:
        store, root = open_backups(source), folder.expanduser().resolve()
        manifest = _choose(store, backup_id)
        span.set(backup=manifest.id, files=manifest.file_count, bytes=manifest.byte_count)
        files = store.read_listing(manifest)
        databases = [DatabaseFacts(**one) for one in manifest.facts["databases"]]
        git = GitState(**manifest.facts["git"]) if manifest.facts["git"] else None
        plan = plan_artifacts(manifest.facts, artifacts)
        with _make_folder(root) as staging:
            targets = choose_targets(
                databases, files, root / (git.folder if git else ""), {"rollout": database, "mlflow": mlflow}
            )
            _check_space(root, files)
            log_info(
                f"backup {manifest.id}: fetching {manifest.file_count:,} files, {manifest.byte_count / 1e6:,.1f} MB"
            )
            objects = _fetch_objects(store, files, staging / "objects")
            placer = Placer(files, objects, staging / "tree")
            with open_span("place files"):
                workspace = placer.place_workspace(git)
                for one in databases:
                    if read_dialect(targets[one.name]) != POSTGRESQL:
                        place = Path(targets[one.name].removeprefix("sqlite:///")).relative_to(root)
                        placer.place(one.name, staging / "tree" / place)
                plan.place(files, placer.place, objects, workspace)
            filled = [url for url in targets.values() if read_dialect(url) == POSTGRESQL]
            for name, url in targets.items():
                if url in filled:
                    with open_span("fill database"):
                        restore_database(objects[files[name].sha256], url)
            with convert_disk_errors(f"write {root}"):
                for path in sorted((staging / "tree").iterdir()):
                    path.rename(root / path.name)
        final = root / (git.folder if git else "")
        urls = {held: targets[one.name] for one in databases for held in one.holds}
        with open_span("finish"):
            finished = finish_restore(final, manifest.facts, urls, plan, store)
        return RestoreResult(manifest, final, finished, filled)


def _choose(store: BackupStore, backup_id: str | None) -> BackupManifest:
    manifest = store.find_newest() if backup_id is None else store.read_manifest(backup_id)
    if manifest is None:
        raise BackupError(
            f"a backup at {store.url}", "none", "check the folder or URL: it is that of `prefixfleet backup`"
        )
    return manifest


@contextmanager
def _make_folder(root: Path) -> Iterator[Path]:
    """Yield the folder for files that are not in place yet; if the block fails, nothing stays."""
    if root.exists() and not root.is_dir():
        raise WorkspaceError("a new or empty folder", f"a file {root}", "name another folder")
    found = sorted(path.name for path in root.iterdir() if path.name != _STAGING) if root.exists() else []
    if found:
        raise WorkspaceError("a new or empty folder", f"{root}, which has {found[0]}", "name another folder")
    is_new, staging = not root.exists(), root / _STAGING
    with convert_disk_errors(f"write {staging}"):
        remove_tree(staging)
        (staging / "tree").mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new and not any(root.iterdir()):
            root.rmdir()


def _check_space(root: Path, files: Mapping[str, StoredFile]) -> None:
    needed = sum(one.size for one in files.values()) + _SPARE_BYTES
    free = shutil.disk_usage(root).free
    if free < needed:
        got = f"{free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB needed"
        raise WorkspaceError(
            f"enough space for the backup in {root}", got, "free space, or name a folder on another disk"
        )


@traced("fetch objects")
def _fetch_objects(store: BackupStore, files: Mapping[str, StoredFile], folder: Path) -> dict[str, Path]:
    """Return digest -> file of every object of a backup, all verified."""
    names: dict[str, str] = {one.sha256: name for name, one in files.items()}
    folder.mkdir()

    def fetch(digest: str) -> str:
        problem = store.read_object(digest, folder / digest)
        return f"{names[digest]} (object {digest[:12]}) {problem}" if problem else ""

    with ThreadPoolExecutor(THREADS) as pool:
        problems = [problem for problem in pool.map(fetch, sorted(names)) if problem]
    if problems:
        got = f"{len(problems)} objects are not: {problems[0]}"
        fix = "nothing was changed; choose an earlier one (`--backup ID`), and run `prefixfleet backup SOURCE --verify`"
        raise BackupError(f"every object of the backup at {store.url} as it was written", got, fix)
    return {digest: folder / digest for digest in names}
