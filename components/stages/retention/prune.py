"""Remove old versions and runs of all tenants, as the section `retention` says; or only find them.

Each tenant is looked at and pruned while its lock is held, so that no move can choose a version that is being removed.
Every step can be repeated: what a killed process left is found again.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from components.config import RetentionConfig
from components.data.schema import list_tenants
from components.errors import ArtifactError, ConfigError, OwnershipError
from components.registry.manifest import MANIFEST_FILE, read_manifest
from components.registry.mlflow.pruning import StoredRun
from components.registry.mlflow.versions import Version
from components.rollout.policy.former_champions import list_former_champions
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.types import LedgerEntry, RolloutState
from components.stages.commands.forget import find_cached_copies
from components.stages.progress import StageProgress, join_abbreviated, log_info, report_progress
from components.stages.retention.policy import Uses, choose_removable, find_oldest_kept
from components.stages.rollout.manual import find_current_user
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree


@dataclass(frozen=True, slots=True)
class PrunedTenant:
    """What was removed of a tenant, or would be."""

    tenant: str
    versions: tuple[str, ...]
    """Numbers, the oldest first."""
    runs: int
    """Runs in MLflow without a version, such as those of rejected prefixes."""
    size_bytes: int


def prune(
    workspace: Workspace, tenants: Sequence[str] | None = None, *, by: str | None = None, dry_run: bool = False
) -> list[PrunedTenant]:
    """Remove what `retention` does not keep, and record it in the ledger; with `dry_run` only find it.

    `tenants` of None are all; returned are those with something to remove. A tenant of another workspace is left as it
    is.

    Raises:
        ConfigError: params.yaml has no section `retention`.
        RegistryError: see `Registry.remove_stored_runs`; the tenants before are done.
        WorkspaceError: another run is in progress, or the database does not answer.
    """
    limits = workspace.params.retention
    if limits is None:
        fix = "add it, for example retention: {versions: 10, days: 90}, and look at `prefixfleet prune --dry-run`"
        raise ConfigError("a section retention in params.yaml", "none", fix)
    with workspace.lock():
        used = frozenset(_list_used_sha256s(workspace))
        chosen = list(tenants or list_tenants(workspace.data))
        pruned: list[PrunedTenant] = []
        for number, tenant in enumerate(chosen):
            report_progress(StageProgress("looking for old versions", tenant, number + 1, len(chosen)))
            try:
                with lock_tenant(workspace, tenant) as lease:
                    found = _find(workspace, tenant, lease.state, used, limits)
                    if found and not dry_run:
                        _remove(workspace, tenant, found, by or find_current_user(), limits)
            except OwnershipError as problem:
                log_info(f"{tenant}: left as it is: {problem}")
            else:
                pruned += [_summarize(tenant, found)] if found else []
    return pruned


def summarize_pruning(pruned: Sequence[PrunedTenant], *, dry_run: bool) -> str:
    """Return the result in one line."""
    versions, runs = sum(len(one.versions) for one in pruned), sum(one.runs for one in pruned)
    size_mb = sum(one.size_bytes for one in pruned) / 1e6
    what = f"{versions} versions and {runs} runs without a version, {size_mb:,.1f} MB, of {len(pruned)} tenants"
    return f"{what} would be removed" if dry_run else f"{what} removed"


def _find(
    workspace: Workspace, tenant: str, state: RolloutState, used: frozenset[str], limits: RetentionConfig
) -> list[StoredRun]:
    versions = workspace.registry.find_versions(tenant)
    uses = Uses(
        numbers={state.champion, state.challenger} - {""},
        former_champions=list_former_champions(read_history(workspace.database, tenant)),
        sha256s=used,
    )
    now_s = time.time()
    own = [version for version in versions if not workspace.registry.is_foreign(version)]
    removable = choose_removable(own, uses, limits, now_s)
    numbers = {version.version for version in removable}
    kept_runs = {version.run_id for version in versions if version.version not in numbers}
    return workspace.registry.find_stored_runs(tenant, removable, kept_runs, find_oldest_kept(limits, now_s))


def _remove(workspace: Workspace, tenant: str, found: list[StoredRun], by: str, limits: RetentionConfig) -> None:
    workspace.registry.remove_stored_runs(tenant, found)
    removed = [one.version for one in found if one.version is not None]
    kept = workspace.registry.find_sha256s([tenant]).get(tenant, set())
    with convert_disk_errors(f"remove copies of old versions of {tenant}"):
        for path in find_cached_copies(workspace, [one.sha256 for one in removed if one.sha256 not in kept]):
            remove_tree(path)
    summary = _summarize(tenant, found)
    which = f"versions {join_abbreviated(summary.versions)}" if removed else "no version"
    why = f"{which} and {summary.runs} runs without a version, older than {limits.days:g} days, were removed"
    entry = LedgerEntry(tenant=tenant, by=by, action="prune", why=why, figures={"versions": list(summary.versions)})
    append_entries(workspace.database, entry)
    log_info(f"{tenant}: {why}")


def _summarize(tenant: str, found: Sequence[StoredRun]) -> PrunedTenant:
    versions: list[Version] = [one.version for one in found if one.version is not None]
    numbers = tuple(sorted((one.version for one in versions), key=int))
    return PrunedTenant(tenant, numbers, len(found) - len(versions), sum(one.size_bytes for one in found))


def _list_used_sha256s(workspace: Workspace) -> Iterator[str]:
    """Yield the artifacts from which the prefixes in out/train were made, and these prefixes themselves."""
    for path in sorted((workspace.root / "out" / "train").glob(f"*/{MANIFEST_FILE}")):
        with suppress(ArtifactError):
            manifest = read_manifest(path.parent)
            yield manifest.sha256
            yield from manifest.made_from.values()
