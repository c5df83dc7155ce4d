"""Read a snapshot of all tenants: their status, as `prefixfleet status` shows it, and the facts of `extras.py`.

If a service does not answer, `troubles` says so: the status stays as it was read before, the service's other facts
are left out. Knows no page.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from components.console.fleet.extras import add_extras, read_extras
from components.console.fleet.ledger_rows import read_ledger_rows
from components.console.fleet.rows import FleetRow, FleetSnapshot, count_states, find_attention
from components.console.sources import Sources
from components.errors import PrefixFleetError
from components.stages.reports.fleet_status import TenantStatus
from components.stages.reports.status import read_status
from components.stages.reports.tenant_state import STATES


def make_fleet_reader(sources: Sources, clock: Callable[[], float]) -> Callable[[FleetSnapshot | None], FleetSnapshot]:
    """Return the function that reads a snapshot; `clock` gives seconds since 1970."""

    def read(before: FleetSnapshot | None) -> FleetSnapshot:
        troubles: list[str] = []
        rows, drops = (before.rows, before.drops) if before else ((), ())
        try:
            sources.reload()
        except PrefixFleetError as problem:
            troubles.append(str(problem))
        try:
            rows, drops = _read_rows(sources, clock)
        except PrefixFleetError as problem:
            troubles.append(str(problem))
        extras, missing = read_extras(sources, clock())
        rows, troubles = add_extras(rows, extras), list(dict.fromkeys([*troubles, *missing]))
        ordered = sorted(rows, key=lambda row: (STATES.index(row.state), row.tenant))
        return FleetSnapshot(
            rows=ordered,
            read_at=datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
            drops=drops,
            troubles=troubles,
            last_run=extras.last_run,
            by_tenant={row.tenant: row for row in ordered},
            counts=count_states(ordered),
            attention=find_attention(ordered),
        )

    return read


def _read_rows(sources: Sources, clock: Callable[[], float]) -> tuple[list[FleetRow], list[str]]:
    if sources.workspace is None:
        return read_ledger_rows(sources.registry, sources.database), []
    status = read_status(sources.workspace, now_s=clock)
    return [make_status_row(one) for one in status.tenants], list(status.drops)


def make_status_row(status: TenantStatus) -> FleetRow:
    """Return the row of a tenant's status."""
    verdict, trial = status.verdict, status.trial
    return FleetRow(
        tenant=status.tenant,
        state=status.state,
        reason=status.reason,
        notes=status.notes,
        champion=status.champion,
        is_accepted=verdict.accepted if verdict else None,
        verdict=verdict.sentence if verdict else "",
        bleu=status.bleu,
        trial=trial.sentence if trial else "",
        waits_for_person=bool(trial and trial.waits_for_person),
        is_paused=bool(trial and trial.paused),
        is_pinned=status.pinned,
    )
