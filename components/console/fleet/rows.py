"""A tenant as a row of the fleet's table. Reads nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components.rollout.store.runs import RunEntry
from components.stages.reports.tenant_state import STATES, TROUBLE, TenantState


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """One tenant. None and "" are unknown, or none."""

    tenant: str
    state: TenantState
    reason: str = ""
    notes: Sequence[str] = ()
    champion: str = ""
    champion_since: str = ""
    """UTC, ISO 8601."""
    is_accepted: bool | None = None
    """Whether the last verdict accepted the prefix."""
    verdict: str = ""
    bleu: float | None = None
    rouge: float | None = None
    """ROUGE-L."""
    bleus: Sequence[float] = ()
    """Of the versions, oldest first."""
    rouges: Sequence[float] = ()
    trial: str = ""
    waits_for_person: bool = False
    """Whether its trial goes on only if someone promotes or rolls back the version by hand."""
    is_paused: bool = False
    is_pinned: bool = False
    requests: int | None = None
    """Of the last hour, as are errors and latency."""
    errors: int | None = None
    p95_ms: float | None = None
    """95 % of the answers took at most this long."""
    is_resident: bool | None = None
    """Whether the server holds its artifact in memory; None: unknown."""


@dataclass(frozen=True, slots=True)
class Attention:
    """The tenants that need attention for the same reason."""

    title: str
    filter: str
    """The state in the table's filter that shows them all."""
    rows: Sequence[FleetRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """All tenants at one moment."""

    rows: Sequence[FleetRow]
    """Those that need attention first, then by name."""
    read_at: str
    """UTC, ISO 8601."""
    drops: Sequence[str] = ()
    """Tenants whose drops wait."""
    troubles: Sequence[str] = ()
    """Services that did not answer, and what to do."""
    last_run: RunEntry | None = None
    number: int = 0
    """Goes up with each snapshot."""
    by_tenant: Mapping[str, FleetRow] = field(default_factory=dict)
    counts: Mapping[TenantState, int] = field(default_factory=dict)
    """State -> number of tenants, in the order of STATES, without states that no tenant has."""
    attention: Sequence[Attention] = ()
    """What needs attention."""


def count_states(rows: Iterable[FleetRow]) -> dict[TenantState, int]:
    """Return state -> number of tenants, in the order of STATES, without states that no tenant has."""
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in STATES if found[state]}


def find_attention(rows: Sequence[FleetRow]) -> list[Attention]:
    """Return the tenants that need attention, grouped by reason; every pin and pause is one."""
    kinds: tuple[tuple[str, str, Callable[[FleetRow], bool]], ...] = (
        ("Broken champions", "broken", lambda row: row.state == "broken"),
        ("Another workspace's champions", "foreign", lambda row: row.state == "foreign"),
        ("Failed in the last run", "failed", lambda row: row.state == "failed"),
        ("Refused by the gate", "refused", lambda row: row.state == "refused"),
        ("Rolled back", "rolled-back", lambda row: row.state == "rolled-back"),
        ("Trials that wait for a person", "waiting", lambda row: row.waits_for_person),
        ("Paused trials", "paused", lambda row: row.is_paused),
        ("Pinned champions", "pinned", lambda row: row.is_pinned),
    )
    found = [Attention(title, name, [row for row in rows if matches(row)]) for title, name, matches in kinds]
    return [one for one in found if one.rows]


FILTERS = ("trouble", *STATES, "waiting", "paused", "drop")
"""What the table can be narrowed to: a state, `trouble` (states that need attention), trials that wait for a person,
pauses, drops that are not taken yet."""


def matches_filter(row: FleetRow, name: str, drops: set[str]) -> bool:
    """Return whether a row passes one of FILTERS."""
    match name:
        case "trouble":
            return row.state in TROUBLE
        case "waiting":
            return row.waits_for_person
        case "paused":
            return row.is_paused
        case "on-trial":
            return bool(row.trial)
        case "pinned":
            return row.is_pinned
        case "drop":
            return row.tenant in drops
        case _:
            return row.state == name
