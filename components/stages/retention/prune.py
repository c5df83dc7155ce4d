"""Remove what is old of a fleet, as the section `retention` says; or only find it.

MLflow's versions, runs and predictions by tenant; files of ended runs in the exchange; DVC's objects; records of nights
and usage; rejected lines. No run of this workspace works meanwhile. What a killed process left is removed by the next
one. The order matters: dataset versions are removed after the versions that were trained on them, and before the
records that name them.
"""

from collections.abc import Collection, Iterator, Sequence

from components.config import RetentionConfig
from components.data.intake import QUARANTINE_FOLDER
from components.data.schema import check_tenant_id, list_tenants
from components.errors import ConfigError, OwnershipError
from components.otel.spans import open_root, open_span
from components.registry.mlflow.versions import MADE_FROM_TAG, read_made_from
from components.rollout.store.old_records import remove_old_records, sum_old_usage
from components.stages.progress import StageProgress, log_info, report_progress
from components.stages.retention.datasets import prune_datasets
from components.stages.retention.local_manifests import list_local_manifests
from components.stages.retention.reference_time import find_reference_time
from components.stages.retention.result import PrunedKind, PruneResult
from components.stages.retention.versions import prune_tenant
from components.stages.rollout.actors import Actor, find_command_actor
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors
from components.storage.exchange import Exchange, ExchangeEntry
from components.storage.object_store import ObjectStore

_SECONDS_PER_DAY = 86_400.0
_SHARED = "shared"


def prune(
    workspace: Workspace, tenants: Sequence[str] | None = None, *, by: Actor | None = None, dry_run: bool = False
) -> PruneResult:
    """Remove what `retention` does not keep, and record it in the ledger; with `dry_run` only find it.

    `tenants` of None are all. Of named tenants only what is in MLflow, in the exchange and in quarantine/ is removed:
    the rest is not kept by tenant. A tenant of another workspace is left as it is.

    Raises:
        ConfigError: params.yaml has no section `retention`.
        DataError: a named tenant has neither data nor versions.
        RegistryError: see `Registry.remove_stored_runs`; the tenants before are done.
        WorkspaceError: another run is in progress, or the database, a disk or DVC fails.
        WorkersError: the exchange does not answer.
    """
    limits = workspace.params.retention
    if limits is None:
        fix = "add it, for example retention: {versions: 10, days: 90}, and look at `prefixfleet prune --dry-run`"
        raise ConfigError("a section retention in params.yaml", "none", fix)
    with open_root("prune", dry_run=dry_run) as span:
        _check_tenants(workspace, tenants or ())
        result = _prune(workspace, tenants, limits, by or find_command_actor(), dry_run=dry_run)
        span.set(removed=result.count, bytes=result.size_bytes)
    return result


def _check_tenants(workspace: Workspace, tenants: Sequence[str]) -> None:
    for tenant in tenants:
        if not (workspace.data / tenant).is_dir() and not workspace.registry.find_versions(check_tenant_id(tenant)):
            workspace.list_tenants([tenant])  # raises the error, with the nearest name


def _prune(
    workspace: Workspace, tenants: Sequence[str] | None, limits: RetentionConfig, by: Actor, *, dry_run: bool
) -> PruneResult:
    with workspace.lock():
        now_s = find_reference_time(workspace)
        result = PruneResult()
        removed = _prune_tenants(workspace, tenants, limits, now_s, by, result, dry_run=dry_run)
        with open_span("prune exchange"):
            result.kinds.extend(_prune_exchange(workspace, tenants, dry_run=dry_run))
        with open_span("prune quarantine"):
            result.kinds.extend(_prune_quarantine(workspace, tenants, limits, now_s, dry_run=dry_run))
        if tenants is None:
            with open_span("prune dataset versions"):
                result.kinds.extend(prune_datasets(workspace, limits, now_s, removed, dry_run=dry_run))
            with open_span("prune records"):
                result.kinds.extend(_prune_records(workspace, limits, now_s, dry_run=dry_run))
    return result


def _prune_tenants(
    workspace: Workspace,
    tenants: Sequence[str] | None,
    limits: RetentionConfig,
    now_s: float,
    by: Actor,
    result: PruneResult,
    *,
    dry_run: bool,
) -> set[str]:
    """Add what is removed to the result; return the dataset versions of the removed versions."""
    used = frozenset(_list_used_sha256s(workspace))
    chosen = list(tenants or list_tenants(workspace.data))
    dataset_versions: set[str] = set()
    for number, tenant in enumerate(chosen):
        report_progress(StageProgress("looking for old versions", tenant, number + 1, len(chosen)))
        try:
            pruned, versions = prune_tenant(workspace, tenant, used, limits, now_s, by, dry_run=dry_run)
        except OwnershipError as problem:
            log_info(f"{tenant}: left as it is: {problem}")
            continue
        dataset_versions |= versions
        if pruned is not None:
            result.tenants.append(pruned)
    return dataset_versions


def _list_used_sha256s(workspace: Workspace) -> Iterator[str]:
    """Yield the artifacts that prefixes in the workspace were made from, these prefixes, and all shared prefixes."""
    for manifest in list_local_manifests(workspace):
        yield manifest.sha256
        yield from manifest.made_from.values()
    for versions in workspace.registry.find_histories(MADE_FROM_TAG).values():
        yield from (sha256 for one in versions for how, sha256 in read_made_from(one).items() if how == _SHARED)


def _prune_exchange(workspace: Workspace, tenants: Collection[str] | None, *, dry_run: bool) -> Iterator[PrunedKind]:
    workers = workspace.params.workers
    if workers is None:
        return
    exchange = Exchange(ObjectStore(workers.exchange))
    found: list[ExchangeEntry] = []
    if dry_run:
        found = exchange.find_unused(workers.keep_days)
    elif tenants is None:
        found = exchange.remove_unused(workers.keep_days)
    else:
        found = [entry for tenant in tenants for entry in exchange.remove_unused(workers.keep_days, tenant)]
    for tenant in sorted({entry.tenant for entry in found}):
        if tenants is None or tenant in tenants:
            own = [entry for entry in found if entry.tenant == tenant]
            objects, size = sum(len(entry.keys) for entry in own), sum(entry.size_bytes for entry in own)
            yield PrunedKind("objects of the exchange", objects, size, tenant)


def _prune_quarantine(
    workspace: Workspace, tenants: Collection[str] | None, limits: RetentionConfig, now_s: float, *, dry_run: bool
) -> Iterator[PrunedKind]:
    if limits.history_days is None:
        return
    before_s = now_s - limits.history_days * _SECONDS_PER_DAY
    for folder in sorted((workspace.root / QUARANTINE_FOLDER).glob("*/")):
        if folder.is_symlink() or (tenants is not None and folder.name not in tenants):
            continue
        with convert_disk_errors(f"remove old files from {folder}"):
            facts = {path: path.stat() for path in sorted(folder.glob("*.jsonl")) if path.is_file()}
            old = {path: one.st_size for path, one in facts.items() if one.st_mtime < before_s}
            for path in () if dry_run else old:
                path.unlink(missing_ok=True)
        if old:
            yield PrunedKind("files of rejected lines", len(old), sum(old.values()), folder.name)


def _prune_records(
    workspace: Workspace, limits: RetentionConfig, now_s: float, *, dry_run: bool
) -> Iterator[PrunedKind]:
    if limits.history_days is not None:
        before_s = now_s - limits.history_days * _SECONDS_PER_DAY
        records = remove_old_records(workspace.database, before_s, dry_run=dry_run)
        yield from _make_kinds({"records of nights": records.runs, "events of fine-tuning jobs": records.events})
    if limits.usage_days is not None:
        before_day = int(now_s // _SECONDS_PER_DAY) - limits.usage_days
        rows = sum_old_usage(workspace.database, before_day, dry_run=dry_run)
        yield from _make_kinds({"rows of usage by day": rows})


def _make_kinds(counts: dict[str, int]) -> Iterator[PrunedKind]:
    yield from (PrunedKind(kind, count, None) for kind, count in counts.items() if count)
