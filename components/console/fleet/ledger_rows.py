"""The fleet without a workspace: rows from MLflow's aliases and the rollout's database alone.

What needs files (data that changed, failures of runs) is unknown then. Knows no page.
"""

from components.console.fleet.rows import FleetRow
from components.registry.registry import CHALLENGER, CHAMPION, Registry, Version
from components.rollout.store.ledger import read_newest
from components.rollout.store.tenant_state import read_states
from components.rollout.types import LedgerEntry, RolloutState
from components.stages.reports.tenant_state import TenantState
from components.storage.database import Database


def read_ledger_rows(registry: Registry, database: Database) -> list[FleetRow]:
    """Return a row for every tenant that has a champion, a challenger, a rollout state or a rejection.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the database does not answer.
    """
    aliases, states = registry.poll_aliased(CHAMPION, CHALLENGER), read_states(database)
    verdicts = read_newest(database, ("reject", "promote", "challenge"))
    champions, challengers = aliases[CHAMPION], aliases[CHALLENGER]
    return [
        _make_row(
            tenant,
            champions.get(tenant),
            challengers.get(tenant),
            states.get(tenant) or RolloutState(tenant=tenant),
            verdicts.get(tenant),
        )
        for tenant in sorted({*champions, *challengers, *states, *verdicts})
    ]


def _make_row(
    tenant: str,
    champion: Version | None,
    challenger: Version | None,
    state: RolloutState,
    verdict: LedgerEntry | None,
) -> FleetRow:
    name, reason = _choose_state(champion, challenger, state, verdict)
    return FleetRow(
        tenant=tenant,
        state=name,
        reason=reason,
        champion=champion.version if champion else "",
        is_accepted=verdict.action != "reject" if verdict else None,
        verdict=verdict.why if verdict else "",
        trial=_describe_trial(challenger, state) if challenger else "",
        waits_for_person=bool(challenger and state.mode == "manual"),
        is_paused=bool(state.paused_s),
        is_pinned=state.pinned,
    )


def _choose_state(
    champion: Version | None, challenger: Version | None, state: RolloutState, verdict: LedgerEntry | None
) -> tuple[TenantState, str]:
    if champion and champion.fault:
        return "broken", f"champion {champion.version}: {champion.fault}"
    if verdict and verdict.action == "reject":
        return "refused", verdict.why
    if challenger:
        return "on-trial", _describe_trial(challenger, state)
    if state.pinned:
        return "pinned", f"version {state.champion} stays champion until `prefixfleet pin {state.tenant} --off`"
    return ("healthy", "") if champion else ("new", "no champion")


def _describe_trial(challenger: Version, state: RolloutState) -> str:
    if state.challenger != challenger.version:
        return f"version {challenger.version}: the next rollout cycle starts its trial"
    return f"version {challenger.version}, {state.mode} at {state.share:.0%}{', paused' if state.paused_s else ''}"
