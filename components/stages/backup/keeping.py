"""What happens to backups that are there: old ones are removed, and all are read again to find damage."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.errors import BackupError
from components.stages.progress import count_nouns, join_abbreviated, log_info, log_warning
from components.storage.backups.manifest import BackupManifest
from components.storage.backups.store import BackupStore, find_damage


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verification read."""

    backups: int
    objects: int


def list_backups(store: BackupStore) -> list[tuple[str, BackupManifest | None, str]]:
    """Return id, manifest and problem of every backup, oldest first; one that cannot be read has no manifest."""
    found: list[tuple[str, BackupManifest | None, str]] = []
    for backup_id in store.list_ids():
        try:
            found.append((backup_id, store.read_manifest(backup_id), ""))
        except BackupError as problem:
            found.append((backup_id, None, problem.got))
    return found


def remove_old(store: BackupStore, keep: int) -> list[str]:
    """Remove all but the newest `keep` backups; return their ids. Call it after a new backup was verified.

    Nothing is removed if a backup that stays cannot be read: its objects are not known.
    """
    ids = store.list_ids()
    removed, kept_ids = ids[:-keep], ids[-keep:]
    try:
        kept = [store.read_manifest(backup_id) for backup_id in kept_ids]
        store.remove(removed, kept)
    except BackupError as problem:
        log_warning(f"no older backup was removed: {problem}")
        return []
    return removed


def verify_backups(store: BackupStore) -> VerifyResult:
    """Read every object of all backups; damaged ones go to `damaged/`, so that the next backup writes them again.

    Raises:
        BackupError: there is no backup; or some are damaged: the error names them.
        WorkspaceError: the disk for temporary files is full.
    """
    backups = list_backups(store)
    if not backups:
        raise BackupError(f"backups at {store.url}", "none", "make one: `prefixfleet backup TARGET`")
    bad = {backup_id: problem for backup_id, _, problem in backups if problem}
    needed: dict[str, set[str]] = {}
    for backup_id, manifest, _ in backups:
        if manifest is None:
            continue
        try:
            files = store.read_listing(manifest)
            needed[backup_id] = {manifest.listing, *(one.sha256 for one in files.values())}
        except BackupError as problem:
            bad[backup_id] = problem.got
    objects = {digest for digests in needed.values() for digest in digests}
    log_info(f"reading {count_nouns(len(objects), 'object')} of {count_nouns(len(needed), 'backup')}")
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as name:
        damage = find_damage(store, objects, Path(name))
        for digest, what in damage.items():
            if what != "is missing":
                store.set_aside(digest, Path(name))
    for backup_id, digests in needed.items():
        hurt = sorted(digests & damage.keys())
        if hurt:
            bad[backup_id] = f"{len(hurt)} objects, such as {hurt[0][:12]}, which {damage[hurt[0]]}"
    if bad:
        got = join_abbreviated([f"{backup_id}: {problem}" for backup_id, problem in sorted(bad.items())], "; ")
        fix = (
            "restore one that is whole; `prefixfleet backup` copies again what the fleet still has. Damaged objects "
            f"were moved to {store.url}/damaged"
        )
        raise BackupError(f"{len(backups)} backups without damage at {store.url}", got, fix)
    return VerifyResult(len(backups), len(objects))
