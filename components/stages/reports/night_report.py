"""The report of a night: what the database records of one run, sorted by what a person must look at first.

Reads the record of the run, the causes that it closed, and the ledger since the run before. Knows no page.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from components.config import Params
from components.rollout.store.causes import Cause, read_causes_closed_between
from components.rollout.store.ledger import read_entries_between
from components.rollout.store.runs import RunEntry, RunResult, RunTenant, read_run, read_run_before
from components.rollout.store.runs import read_run_tenants as read_tenants
from components.rollout.store.tenant_state import read_states
from components.rollout.store.usage import Usage
from components.rollout.types import KEY_ACTIONS, LedgerEntry, RolloutState
from components.storage.database import Database
from components.usage.money import compute_cost, round_money

NEEDS_PERSON: tuple[RunResult, ...] = ("failed", "rejected", "skipped")
ORDER: tuple[RunResult, ...] = (*NEEDS_PERSON, "promoted", "accepted")
"""All results, what needs a person first."""
_MONTH_DAYS = 30
"""Of no effect: a night stores nothing."""


@dataclass(frozen=True, slots=True)
class TenantGroup:
    """Tenants with the same result for the same reason."""

    result: RunResult
    why: str
    tenants: Sequence[RunTenant]


@dataclass(frozen=True, slots=True)
class CauseGroup:
    """Tenants that were retrained for the same reason."""

    why: str
    tenants: Sequence[str]


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker did in the run."""

    worker: str
    device: str
    tenants: int
    device_seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A version that was put on trial."""

    tenant: str
    version: str
    mode: str
    share: float
    """At the start of the trial."""
    now: str
    """What became of it until the report was made, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightReport:
    """One run. Times are UTC."""

    run: RunEntry
    fleet: str
    tenants: Sequence[RunTenant]
    """Tenants that had something to do, by name."""
    waiting: Sequence[TenantGroup]
    """What needs a person: failures, then refusals, then tenants whose budget is spent; the largest groups first."""
    trials: Sequence["Trial"]
    """Versions that were put on trial since the run before."""
    moves: Sequence[LedgerEntry]
    """Since the end of the run before, until the end of this one; newest first."""
    causes: Sequence["CauseGroup"]
    """Those of the most tenants first."""
    workers: Sequence[WorkerShare]
    cost: Decimal | None
    """Of the training; None: there are no prices."""
    currency: str
    links: Mapping[str, str] = field(default_factory=dict)
    """Name -> URL."""

    @property
    def counts(self) -> dict[str, int]:
        """Result -> number of tenants, with `unchanged`."""
        counted = Counter(one.result for one in self.tenants)
        return {**{result: counted[result] for result in ORDER}, "unchanged": self.run.unchanged}

    @property
    def retrained(self) -> list[RunTenant]:
        """Tenants that got as far as the gate, those that lost most BLEU first."""
        judged = [one for one in self.tenants if one.result not in ("failed", "skipped")]
        return sorted(judged, key=lambda one: (_get_gain(one), one.tenant))

    @property
    def seconds(self) -> float | None:
        """From begin to end; None: it has no end."""
        if not self.run.ended_at:
            return None
        began, ended = (datetime.fromisoformat(one) for one in (self.run.began_at, self.run.ended_at))
        return (ended - began).total_seconds()

    @property
    def rolled_back(self) -> list[LedgerEntry]:
        """The moves that took a version back."""
        return [one for one in self.moves if one.action == "rollback"]

    @property
    def other_moves(self) -> list[LedgerEntry]:
        """The moves that neither this run made nor took a version back."""
        return [one for one in self.moves if one.action not in ("rollback", "reject") and one.by != "retrain"]


def read_night(
    database: Database, run: int, get_params: Callable[[str], Params] | None, fleet: str, links: Mapping[str, str]
) -> NightReport | None:
    """Return the report of a run; None: there is no such run.

    `get_params`: tenant -> its parameters, for prices; None: there are no prices.

    Raises WorkspaceError: the database does not answer.
    """
    entry = read_run(database, run)
    if entry is None:
        return None
    tenants, before = read_tenants(database, run), read_run_before(database, run)
    since, until = before.ended_at if before else "", entry.ended_at or "9999"
    moves = read_entries_between(database, since, until)
    forgotten = {one.tenant for one in moves if one.action == "forget"}
    shown = [one for one in moves if one.action not in KEY_ACTIONS and one.tenant not in forgotten]
    causes = read_causes_closed_between(database, entry.began_at, until)
    states = read_states(database)
    cost, currency = _compute_cost(tenants, get_params) if get_params else (None, "")
    return NightReport(
        run=entry,
        fleet=fleet,
        tenants=tenants,
        waiting=_group(tenants),
        trials=[_make_trial(one, states.get(one.tenant)) for one in shown if one.action == "challenge"],
        moves=shown[::-1],
        causes=_group_causes(causes),
        workers=_sum_workers(tenants),
        cost=cost,
        currency=currency,
        links=links,
    )


def _make_trial(entry: LedgerEntry, state: RolloutState | None) -> Trial:
    figures, now = entry.figures, "ended"
    if state is not None and state.challenger == entry.to_version:
        now = f"answers {state.share:.0%}{' unseen' if state.mode == 'shadow' else ''}"
        now += ", paused" if state.paused_s else ""
    elif state is not None and state.champion == entry.to_version:
        now = "champion"
    mode, share = str(figures.get("mode", "")), float(figures.get("share", 0.0))
    return Trial(entry.tenant, entry.to_version, mode, share, now)


def _get_gain(tenant: RunTenant) -> float:
    if tenant.bleu_before is None or tenant.bleu_after is None:
        return 0.0
    return tenant.bleu_after - tenant.bleu_before


def _group(tenants: Sequence[RunTenant]) -> list[TenantGroup]:
    """Return the groups of tenants that need a person."""
    groups: dict[tuple[RunResult, str], list[RunTenant]] = {}
    for one in tenants:
        if one.result in NEEDS_PERSON:
            groups.setdefault((one.result, one.detail.replace(one.tenant, "TENANT")), []).append(one)
    found = [TenantGroup(result, own[0].detail if len(own) == 1 else why, own) for (result, why), own in groups.items()]
    return sorted(found, key=lambda one: (NEEDS_PERSON.index(one.result), -len(one.tenants), one.tenants[0].tenant))


def _group_causes(causes: Sequence[Cause]) -> list[CauseGroup]:
    groups: dict[str, list[str]] = {}
    for one in causes:
        groups.setdefault(one.why, []).append(one.tenant)
    found = [CauseGroup(why, tenants) for why, tenants in groups.items()]
    return sorted(found, key=lambda one: (-len(one.tenants), one.tenants[0]))


def _sum_workers(tenants: Sequence[RunTenant]) -> list[WorkerShare]:
    own: dict[str, list[RunTenant]] = {}
    for one in tenants:
        if one.worker:
            own.setdefault(one.worker, []).append(one)
    return [
        WorkerShare(worker, some[0].device, len(some), sum(one.device_seconds for one in some))
        for worker, some in sorted(own.items())
    ]


def _compute_cost(tenants: Sequence[RunTenant], get_params: Callable[[str], Params]) -> tuple[Decimal | None, str]:
    total, currency = Fraction(0), ""
    for one in tenants:
        prices = get_params(one.tenant).prices if one.device_seconds else None
        if prices is not None:
            usage = Usage(training_us=round(1e6 * one.device_seconds))
            total, currency = total + compute_cost(usage, _MONTH_DAYS, prices), prices.currency
    return (round_money(total), currency) if currency else (None, "")
