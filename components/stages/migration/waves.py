"""One wave: train tenants for the next base, judge each against its champion, and switch over those that pass.

Works in batches, each of which is complete: what a batch has switched over answers at once, and a wave that is killed
goes on with the next batch. A tenant that fails or is rejected keeps its champion, which the present base serves.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from components.otel.spans import open_span
from components.registry.registry import Version
from components.rollout.store.causes import Cause, begin_causes, close_causes, open_causes
from components.stages import evaluate, gate, register, rejections, train
from components.stages.migration.plan_wave import (
    WavePlan,
    find_champion_score,
    make_cause,
    place_champion_score,
    plan_wave,
)
from components.stages.next_base_view import NextBaseView
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.plan import Plan, PlanItem, make_plan
from components.stages.plan_budgets import find_refused
from components.stages.progress import join_abbreviated, log_info
from components.stages.rollout.actors import Actor
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import make_champion
from components.stages.run_log import WorkerSpan
from components.stages.sharding.heartbeats import describe_worker
from components.stages.usage_records import record_trainings
from components.stages.workspace import Workspace

BATCH_SIZE = 32
"""Tenants of a batch that is trained here."""
_ACTOR = Actor("migrate")


@dataclass
class WaveResult:
    """What a wave did."""

    before: str = ""
    """The migration before the wave, in one line."""
    outcomes: list[TenantOutcome] = field(default_factory=list)
    switched: dict[str, str] = field(default_factory=dict)
    """Tenant -> version on the next base that is its champion now."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Tenant -> why the gate rejected its prefix on the next base."""
    refused: dict[str, str] = field(default_factory=dict)
    """Tenant that was not trained as its budget is spent -> the reason in words."""
    left: int = 0
    """Tenants that a later wave trains."""
    workers: dict[str, str] = field(default_factory=dict)
    """Tenant -> the worker that trained or evaluated it; tenants of this process are left out."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Tenant -> why it was trained."""
    spans: dict[str, WorkerSpan] = field(default_factory=dict)
    """Tenant -> when and where it was trained."""

    @property
    def failures(self) -> list[TenantOutcome]:
        """The failed outcomes of all stages."""
        return [one for one in self.outcomes if one.state == "failed"]

    @property
    def sentence(self) -> str:
        """The wave in one line."""
        parts = [f"{self.before}; this wave switched {len(self.switched)} over"]
        parts += [f"rejected {join_abbreviated(sorted(self.rejected))}"] if self.rejected else []
        parts += [f"not trained {join_abbreviated(sorted(self.refused))} (budget spent)"] if self.refused else []
        parts += [f"failed {join_abbreviated(sorted({one.tenant for one in self.failures}))}"] if self.failures else []
        return ", ".join([*parts, f"left {self.left} for later waves"])


@dataclass(frozen=True)
class TrainedBatch:
    """What training and evaluation made of a batch."""

    outcomes: list[TenantOutcome]
    workers: dict[str, str] = field(default_factory=dict)
    """See `WaveResult.workers`."""
    spans: dict[str, WorkerSpan] = field(default_factory=dict)
    """See `WaveResult.spans`."""


TrainBatch = Callable[[NextBaseView, Plan, Mapping[str, Version]], TrainedBatch]
"""Trains and evaluates the tenants of a plan for the next base, and the champions that are on that base."""


def train_here(view: NextBaseView, batch: Plan, champions: Mapping[str, Version]) -> TrainedBatch:
    """Train and evaluate in this process; a `TrainBatch`."""
    prints, began_s = batch.collect_fingerprints(), time.time()
    outcomes = train.train_planned(view, prints, batch.reasons)
    ready = {one.tenant: prints[one.tenant] for one in outcomes if one.state != "failed"}
    outcomes += evaluate.evaluate_shard(view, ready, champions)
    span = WorkerSpan("", describe_worker(), "", began_s, time.time())
    return TrainedBatch(outcomes, spans=dict.fromkeys(batch.reasons, span))


def run_wave(
    current: Workspace,
    *,
    moves: bool = True,
    tenants: Collection[str] | None = None,
    train_batch: TrainBatch = train_here,
    batch_size: int = BATCH_SIZE,
    now_s: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
) -> WaveResult:
    """Run a wave within its budget. The caller holds the workspace's lock.

    Without `moves` only tenants that have moved and changed are trained, whatever the budget; with `tenants` only the
    named ones. Each batch of `batch_size` tenants is trained by `train_batch`. `now_s` returns seconds since 1970,
    `timer` seconds of a monotonic clock.

    Raises:
        ConfigError: params.yaml has no `next_base`.
        BaseModelError: there is no usable next base.
        RegistryError: MLflow does not answer.
        WorkersError: as `train_batch`.
        WorkspaceError: the database does not answer.
    """
    view, config = NextBaseView(current), current.params.next_base
    assert config is not None  # noqa: S101 - NextBaseView has checked it
    planned = plan_wave(current, view, int(now_s() // 60))
    log_info(planned.sentence)
    close_causes(view.database, planned.settled, ["switched over by a wave that was stopped"] * len(planned.settled))
    result, begun_s = WaveResult(before=planned.sentence), timer()
    chosen = choose_items(planned, config.tenants_per_wave if moves else 0)
    chosen = [item for item in chosen if tenants is None or item.tenant in tenants]
    result.refused = find_refused(view, chosen)
    chosen = [item for item in chosen if item.tenant not in result.refused]
    result.left = len(planned.items)
    for start in range(0, len(chosen), batch_size):
        if config.minutes_per_wave is not None and timer() - begun_s >= 60 * config.minutes_per_wave:
            break
        batch = chosen[start : start + batch_size]
        _run_batch(current, view, planned, batch, result, train_batch, now_s)
        result.left -= len(batch)
    return result


def choose_items(planned: WavePlan, budget: int) -> list[PlanItem]:
    """Return the tenants of a wave: all that have moved and changed, then those that move, up to a budget."""
    changed = [item for item in planned.items if item.tenant in planned.moved]
    return changed + [item for item in planned.items if item.tenant not in planned.moved][:budget]


def _run_batch(
    current: Workspace,
    view: NextBaseView,
    planned: WavePlan,
    items: Sequence[PlanItem],
    result: WaveResult,
    train_batch: TrainBatch,
    now_s: Callable[[], float],
) -> None:
    causes = {item.tenant: make_cause(item, planned.base_digest) for item in items}
    with view.database.transaction("to record a wave") as connection:
        open_causes(connection, causes.values())
    begin_causes(view.database, list(causes.values()), now_s())
    prints = {item.tenant: item.fingerprint for item in items}
    same_base = {tenant: planned.champions[tenant] for tenant in planned.moved}
    record_trainings(view, prints)
    trained = train_batch(view, make_plan(planned.base, items), same_base)
    record_trainings(view, prints)
    outcomes = trained.outcomes
    result.workers |= trained.workers
    result.spans |= trained.spans
    result.reasons |= {item.tenant: item.reason for item in items}
    evaluated = {one.tenant for one in outcomes if one.stage == "evaluate" and one.state != "failed"}
    for item in items:
        champion = planned.champions.get(item.tenant)
        if champion is None or item.tenant in planned.moved or item.tenant not in evaluated:
            continue
        with catch_failure(item.tenant, "evaluate", outcomes):
            score = find_champion_score(current, item, champion)
            assert score is not None  # noqa: S101 - the plan has found it, and the workspace is locked
            place_champion_score(view, score, champion)
    failed = {one.tenant for one in outcomes if one.state == "failed"}
    outcomes += [gate.try_judge_tenant(view, tenant) for tenant in sorted(evaluated - failed)]
    passed = {one.tenant: prints[one.tenant] for one in outcomes if one.stage == "gate" and one.state != "failed"}
    describe = {tenant: cause.why for tenant, cause in causes.items()}.__getitem__
    versions, failures = register.register(view, passed, describe)
    outcomes += failures
    result.rejected |= rejections.record_rejections(view, passed, describe)
    outcomes += _switch_over(view, planned, versions, result)
    result.outcomes += outcomes
    _close(view, planned, causes, outcomes, result)


def _switch_over(
    view: NextBaseView, planned: WavePlan, versions: dict[str, Version], result: WaveResult
) -> list[TenantOutcome]:
    """Make versions champion. A trial is only possible between versions on one base, so a move has none."""
    moving = {tenant: one for tenant, one in versions.items() if tenant not in planned.moved}
    outdated = versions.keys() - moving.keys()
    promoted, failures = register.roll_out(view, {tenant: versions[tenant] for tenant in outdated}, outdated)
    result.switched |= promoted
    for tenant, version in moving.items():
        with (
            catch_failure(tenant, "roll out", failures),
            open_span("roll out tenant", tenant=tenant, version=version.version),
            lock_tenant(view, tenant) as lease,
        ):
            if lease.state.pinned:
                log_info(f"{tenant}: version {version.version} gets no alias while {lease.state.champion} is pinned")
                continue
            why = f"it passed the gate on base {planned.base_digest[:12]}, to which the fleet moves"
            result.switched[tenant] = make_champion(lease, version.version, _ACTOR, why).champion
    return failures


def _close(
    view: NextBaseView,
    planned: WavePlan,
    causes: dict[str, Cause],
    outcomes: Sequence[TenantOutcome],
    result: WaveResult,
) -> None:
    failures = {one.tenant: f"failed to {one.stage}: {one.detail}" for one in outcomes if one.state == "failed"}
    # A failure of a service may be over at the next wave; training the same fails in the same way.
    again = {one.tenant for one in outcomes if one.state == "failed" and one.stage in ("register", "roll out")}
    ended = [cause for tenant, cause in causes.items() if tenant not in again]

    def describe(tenant: str) -> str:
        if tenant in result.switched:
            return f"switched to version {result.switched[tenant]} on base {planned.base_digest[:12]}"
        return failures.get(tenant) or result.rejected.get(tenant) or "registered, without an alias"

    close_causes(view.database, ended, [describe(cause.tenant) for cause in ended])
