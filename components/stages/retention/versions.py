"""Removes old versions, runs and predictions of one tenant from MLflow, or only finds them.

The tenant's lock is held meanwhile, so that no move can choose a version that is being removed. Every step can be
repeated: what a killed process left is found again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.config import RetentionConfig
from components.otel.spans import open_span
from components.registry.mlflow.pruning import StoredRun
from components.registry.mlflow.versions import PREDICTIONS_TAG, Version
from components.rollout.policy.former_champions import list_former_champions
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.types import LedgerEntry, RolloutState
from components.stages.commands.forget import find_cached_copies
from components.stages.evaluation_scoring import PREDICTIONS_FILE
from components.stages.progress import join_abbreviated, log_info
from components.stages.retention.policy import Uses, choose_removable, find_oldest_kept, keeps_predictions
from components.stages.retention.result import PrunedTenant
from components.stages.rollout.actors import Actor
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree

_REMOVED = "removed"
_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class _Found:
    runs: list[StoredRun]
    predictions: list[tuple[Version, int]]
    """Versions that stay, and the bytes of their predictions."""

    @property
    def versions(self) -> list[Version]:
        return [one.version for one in self.runs if one.version is not None]


def prune_tenant(
    workspace: Workspace,
    tenant: str,
    used: frozenset[str],
    limits: RetentionConfig,
    now_s: float,
    by: Actor,
    *,
    dry_run: bool,
) -> tuple[PrunedTenant | None, set[str]]:
    """Remove what is old of a tenant, and record it in the ledger.

    `used` are the sha256s of artifacts from which others were made; `now_s` is the reference time.

    Returns:
        What was removed (None: nothing), and the dataset versions of the removed versions.

    Raises:
        OwnershipError: the tenant is another workspace's.
        RegistryError: see `Registry.remove_stored_runs`.
        WorkspaceError: the tenant's lock is not free, or the database does not answer.
    """
    with open_span("prune tenant", tenant=tenant) as span, lock_tenant(workspace, tenant) as lease:
        found = _find(workspace, tenant, lease.state, used, limits, now_s)
        summary = _summarize(tenant, found)
        span.set(removed=summary.count, bytes=summary.size_bytes)
        if not summary.count:
            return None, set()
        if not dry_run:
            _remove(workspace, tenant, found, summary, by, limits)
    return summary, {one.dataset_version for one in found.versions if one.dataset_version}


def _find(
    workspace: Workspace,
    tenant: str,
    state: RolloutState,
    used: frozenset[str],
    limits: RetentionConfig,
    now_s: float,
) -> _Found:
    versions = workspace.registry.find_versions(tenant)
    uses = Uses(
        numbers={state.champion, state.challenger} - {""},
        former_champions=list_former_champions(read_history(workspace.database, tenant)),
        sha256s=used,
    )
    own = [version for version in versions if not workspace.registry.is_foreign(version)]
    removable = choose_removable(own, uses, limits, now_s)
    numbers = {version.version for version in removable}
    kept = [version for version in versions if version.version not in numbers]
    kept_runs = {version.run_id for version in kept}
    oldest_s = find_oldest_kept(limits, now_s)
    runs = workspace.registry.find_stored_runs(tenant, removable, kept_runs, oldest_s)
    return _Found(runs, _find_predictions(workspace, [one for one in own if one in kept], uses, limits, now_s))


def _find_predictions(
    workspace: Workspace, kept: Sequence[Version], uses: Uses, limits: RetentionConfig, now_s: float
) -> list[tuple[Version, int]]:
    if limits.predictions_days is None:
        return []
    before_s = now_s - limits.predictions_days * _SECONDS_PER_DAY
    old = [one for one in kept if one.run_id and 0 < one.created_s < before_s and not keeps_predictions(one, uses)]
    sizes = [
        (one, workspace.registry.find_run_file(one.run_id, PREDICTIONS_FILE))
        for one in old
        if one.tags.get(PREDICTIONS_TAG) != _REMOVED
    ]
    return [(one, size) for one, size in sizes if size is not None]


def _remove(
    workspace: Workspace, tenant: str, found: _Found, summary: PrunedTenant, by: Actor, limits: RetentionConfig
) -> None:
    registry, removed = workspace.registry, found.versions
    if found.runs:
        registry.remove_stored_runs(tenant, found.runs)
    for version, _ in found.predictions:
        registry.remove_run_file(tenant, version.run_id, PREDICTIONS_FILE)
        registry.set_tags(version, {PREDICTIONS_TAG: _REMOVED})
    kept = registry.find_sha256s([tenant]).get(tenant, set())
    with convert_disk_errors(f"remove copies of old versions of {tenant}"):
        for path in find_cached_copies(workspace, [one.sha256 for one in removed if one.sha256 not in kept]):
            remove_tree(path)
    which = f"versions {join_abbreviated(summary.versions)}" if removed else "no version"
    why = f"{which} and {summary.runs} runs without a version, older than {limits.days:g} days, were removed"
    if found.predictions:
        numbers = join_abbreviated([version.version for version, _ in found.predictions])
        why += f"; so were the predictions of versions {numbers}"
    figures = {
        "versions": list(summary.versions),
        "dataset_versions": sorted({one.dataset_version for one in removed} - {""}),
    }
    entry = LedgerEntry(tenant=tenant, by=by.name, origin=by.origin, action="prune", why=why, figures=figures)
    append_entries(workspace.database, entry)
    log_info(f"{tenant}: {why}")


def _summarize(tenant: str, found: _Found) -> PrunedTenant:
    numbers = tuple(sorted((one.version for one in found.versions), key=int))
    size = sum(one.size_bytes for one in found.runs) + sum(size for _, size in found.predictions)
    return PrunedTenant(tenant, numbers, len(found.runs) - len(numbers), size, len(found.predictions))
