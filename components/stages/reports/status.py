"""The status of every tenant: reads files, MLflow's aliases and the rollout's database, once for the whole fleet.

Knows no terminal. `tenant_state` decides the state of a tenant from what is read here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.schema import SPLITS, list_tenants
from components.errors import ArtifactError, PrefixFleetError
from components.registry.manifest import TENSORS_FILE, read_manifest
from components.registry.mlflow.alias_table import READ_TAGS
from components.registry.registry import CHALLENGER, CHAMPION, Version
from components.rollout.policy.alias_drift import find_alias_drift
from components.rollout.policy.input_drift import InputDrift
from components.rollout.store.ledger import read_newest
from components.rollout.store.tenant_state import read_states
from components.rollout.types import LedgerEntry, RolloutState
from components.stages.base import read_base_facts
from components.stages.dataset import find_tenants_with_drops
from components.stages.gate import read_last_verdict
from components.stages.last_failures import LastFailure, read_failures
from components.stages.next_base_view import NextBaseView, find_moved_tenants
from components.stages.plan import PlanItem, SharedItems, plan_tenant
from components.stages.plan_budgets import read_states as read_states_of_budgets
from components.stages.reports.fleet_status import FleetStatus, TenantStatus
from components.stages.reports.tenant_state import STATES, TenantFacts, VerdictFacts, choose_state, list_notes
from components.stages.rollout.trial_progress import TrialProgress, read_trials
from components.stages.splits import read_overlaps
from components.stages.stamps import STAMP_FILE, read_json
from components.stages.triggers.drift import read_drift
from components.stages.workspace import Workspace
from components.usage.budgets import BudgetState

_TAGS = (*READ_TAGS, "fingerprint", "metric.bleu")


def read_status(
    workspace: Workspace, tenants: Sequence[str] | None = None, now_s: Callable[[], float] = time.time
) -> FleetStatus:
    """Return the status of all or the named tenants; without any data, only the drops that wait.

    Raises:
        DataError: a named tenant has no data.
        RegistryError: MLflow does not answer.
        WorkspaceError: the rollout's database does not answer.
    """
    drops = find_tenants_with_drops(workspace)
    if tenants is None and not list_tenants(workspace.data):
        return FleetStatus([], drops)
    listed = workspace.list_tenants(tenants)
    fleet = _read_fleet(workspace, listed, drops, now_s)
    moved = find_moved_tenants(workspace)
    rows: list[TenantStatus] = []
    if others := sorted(set(listed) - moved):
        rows += _read_rows(workspace, fleet, others)
    if on_next := sorted(set(listed) & moved):
        rows += _read_rows(NextBaseView(workspace), fleet, on_next)
    workspace.save_digests()
    return FleetStatus(sorted(rows, key=lambda row: (STATES.index(row.state), row.tenant)), drops)


def _read_rows(workspace: Workspace, fleet: "_Fleet", tenants: Sequence[str]) -> list[TenantStatus]:
    """Return the status of tenants whose champions are on this workspace's base."""
    base_digest, shared = read_base_facts(workspace)["digest"], SharedItems()
    items = {tenant: plan_tenant(workspace, tenant, base_digest, shared) for tenant in tenants}
    registered = _find_registered(workspace, fleet, items)
    return [_make_status(workspace, fleet, item, registered) for item in items.values()]


@dataclass(frozen=True, slots=True)
class _Fleet:
    champions: Mapping[str, Version]
    challengers: Mapping[str, Version]
    states: Mapping[str, RolloutState]
    trials: Mapping[str, TrialProgress]
    failures: Mapping[str, LastFailure]
    last_moves: Mapping[str, LedgerEntry]
    files: Mapping[str, Path]
    """Tenant -> folder of its champion's files, if MLflow's store is on this disk."""
    budgets: Mapping[str, BudgetState]
    """Tenant -> its budget, if that is spent."""
    drift: Mapping[str, InputDrift]
    """Tenant -> how far its requests are from its training data, if that is known."""


def _read_fleet(
    workspace: Workspace, tenants: Sequence[str], drops: Sequence[str], now_s: Callable[[], float]
) -> _Fleet:
    aliases = workspace.registry.poll_aliased(CHAMPION, CHALLENGER, tags=_TAGS)
    states = read_states(workspace.database)
    failures = read_failures(workspace)
    return _Fleet(
        aliases[CHAMPION],
        aliases[CHALLENGER],
        states,
        read_trials(workspace, states, aliases[CHALLENGER], now_s()),
        {tenant: one for tenant, one in failures.items() if one.stage != "version" or tenant in drops},
        read_newest(workspace.database, ("promote", "rollback", "withdraw")),
        workspace.registry.find_local_files(CHAMPION),
        {tenant: one for tenant, one in read_states_of_budgets(workspace, tenants).items() if one.is_spent},
        read_drift(workspace, aliases[CHAMPION], now_s),
    )


def _find_registered(workspace: Workspace, fleet: _Fleet, items: Mapping[str, PlanItem]) -> set[str]:
    """Return the tenants whose prefix in out/train is a version, though not the champion: it was one, or was on trial.

    Asks MLflow only about tenants that have such a move in the ledger.
    """
    asked = {
        tenant: sha256
        for tenant, item in items.items()
        if not item.reason
        and tenant in fleet.last_moves
        and not _is_present(fleet.champions.get(tenant), item)
        and (sha256 := _read_sha256(workspace, tenant))
    }
    known = workspace.registry.find_sha256s(asked) if asked else {}
    return {tenant for tenant, sha256 in asked.items() if sha256 in known.get(tenant, ())}


def _make_status(workspace: Workspace, fleet: _Fleet, item: PlanItem, registered: set[str]) -> TenantStatus:
    tenant = item.tenant
    champion, challenger = fleet.champions.get(tenant), fleet.challengers.get(tenant)
    known = fleet.states.get(tenant)
    drift = find_alias_drift(known, champion.version if champion else "", challenger.version if challenger else "")
    trial, budget = fleet.trials.get(tenant), fleet.budgets.get(tenant)
    if trial and not trial.mode:  # the trial's own sentence says it
        drift = [one for one in drift if one.alias != CHALLENGER]
    facts = TenantFacts(
        tenant=tenant,
        champion=champion.version if champion else "",
        champion_problem=_find_champion_problem(workspace, champion, fleet.files.get(tenant)) if champion else "",
        foreign_owner=champion.owner if champion and workspace.registry.is_foreign(champion) else "",
        is_present_prefix=_is_present(champion, item),
        training_reason=item.reason,
        is_registered=tenant in registered,
        failure=fleet.failures.get(tenant),
        verdict=_read_verdict(workspace, item, champion),
        trial=trial,
        pinned=bool(known and known.pinned),
        last_move=fleet.last_moves.get(tenant),
        challenger_problem=challenger.fault if challenger else "",
        alias_drift=[one.sentence for one in drift],
        drift=_describe_drift(workspace, fleet.drift.get(tenant)),
        budget=budget.note if budget else "",
        skips_training=bool(budget and budget.refuses_training),
        overlaps=read_overlaps(workspace, tenant),
    )
    state, reason = choose_state(facts)
    return TenantStatus(
        tenant=tenant,
        state=state,
        reason=reason,
        notes=list_notes(facts, state),
        champion=facts.champion,
        bleu=_read_bleu(champion),
        trial=facts.trial,
        pinned=facts.pinned,
        verdict=facts.verdict,
        failure=facts.failure,
        examples=_count_examples(workspace, tenant),
        data_digest=item.data_digest,
        drift=fleet.drift.get(tenant),
    )


def _describe_drift(workspace: Workspace, drift: InputDrift | None) -> str:
    """Return the drift in words if it has reached the threshold, else ""."""
    config = workspace.params.triggers.drift
    return drift.sentence if config and drift and drift.score >= config.threshold else ""


def _find_champion_problem(workspace: Workspace, champion: Version, files: Path | None) -> str:
    """Return why a champion cannot be fetched, as far as tags and files on this disk show; "": it can."""
    if champion.fault or files is None:
        return champion.fault
    sha256 = workspace.digests.digest_file(files / TENSORS_FILE)
    if sha256 is None:
        return f"its files are gone: no {TENSORS_FILE} in {files}"
    return "" if sha256 == champion.sha256 else f"its files are damaged: {files / TENSORS_FILE} has another sha256"


def _is_present(champion: Version | None, item: PlanItem) -> bool:
    return champion is not None and champion.fingerprint == item.fingerprint


def _read_verdict(workspace: Workspace, item: PlanItem, champion: Version | None) -> VerdictFacts | None:
    try:
        verdict = read_last_verdict(workspace, item.tenant)
    except PrefixFleetError:  # a broken file: the next run gates again
        return None
    if verdict is None:
        return None
    present = False
    if not item.reason:
        is_champion = champion is not None and _is_present(champion, item) and champion.sha256 == verdict.prefix_digest
        present = is_champion or verdict.prefix_digest == _read_sha256(workspace, item.tenant)
    stamp = read_json(workspace.get_output_folder("gate", item.tenant) / STAMP_FILE)
    judged_with = stamp.get("inputs", {}).get("gate") if isinstance(stamp, dict) else None
    now = workspace.params.for_tenant(item.tenant).gate.model_dump(mode="json")
    changed = [f"gate.{key}" for key, value in now.items() if judged_with and judged_with.get(key) != value]
    return VerdictFacts(verdict.accepted, verdict.sentence, present, changed)


def _read_sha256(workspace: Workspace, tenant: str) -> str | None:
    try:
        return read_manifest(workspace.get_output_folder("train", tenant)).sha256
    except ArtifactError:
        return None


def _read_bleu(champion: Version | None) -> float | None:
    value = champion.tags.get("metric.bleu") if champion else None
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _count_examples(workspace: Workspace, tenant: str) -> tuple[int, ...]:
    """Return the lines of each split; counted again only if a file of the tenant changed."""
    counts = workspace.digests.digest_folder(workspace.data / tenant, _count_lines)
    return tuple(map(int, counts.split()))


def _count_lines(folder: Path) -> str:
    paths = [folder / f"{split}.jsonl" for split in SPLITS]
    return " ".join(str(path.read_bytes().count(b"\n") if path.is_file() else 0) for path in paths)
