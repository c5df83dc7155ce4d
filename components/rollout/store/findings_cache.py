"""Keeps the findings of each trial's last review from one cycle to the next, with the number of answers until then.

Knows no check; does not know when a trial is reviewed again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.config.rollout import RolloutConfig
from components.rollout.store.tables import ROLLOUT_STATES, TRIAL_FINDINGS
from components.rollout.types import Finding, RolloutState
from components.storage.database import Database, make_insert

_TENANTS_PER_QUERY = 1_000


@dataclass(frozen=True, slots=True)
class TrialFindings:
    """The findings of one trial's last review."""

    tenant: str
    trial: str
    """Key of the trial, by `make_trial_key`."""
    seen: int
    """Answers and opinions on both versions at that time."""
    findings: list[Finding]


def make_trial_key(state: RolloutState, config: RolloutConfig) -> str:
    """Return a key that changes with the tenant's trial and with the trial's configuration."""
    began = state.changes[0].second if state.changes else int(state.started_s)
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]
    return f"{state.champion}/{state.challenger}/{state.mode}/{began}/{digest}"


def read_findings(database: Database) -> dict[str, TrialFindings]:
    """Return tenant -> findings for all tenants, in one query. Raises WorkspaceError."""
    with database.connect("the findings of the trials") as connection:
        rows = connection.execute(sql.select(TRIAL_FINDINGS)).all()
    return {row.tenant: TrialFindings(row.tenant, row.trial, row.seen, _parse_findings(row.findings)) for row in rows}


def save_findings(database: Database, findings: Iterable[TrialFindings]) -> None:
    """Replace the findings of these trials, except of tenants that were forgotten since. Raises WorkspaceError."""
    rows = [
        {
            "tenant": one.tenant,
            "trial": one.trial,
            "seen": one.seen,
            "findings": json.dumps([finding.to_dict() for finding in one.findings]),
        }
        for one in findings
    ]
    with database.transaction("to save the findings of the trials") as connection:
        for start in range(0, len(rows), _TENANTS_PER_QUERY):
            _save_rows(connection, rows[start : start + _TENANTS_PER_QUERY])


def _save_rows(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    tenants = ROLLOUT_STATES.c.tenant
    existing = sql.select(tenants).where(tenants.in_([row["tenant"] for row in rows]))
    known = set(connection.execute(existing).scalars())
    if kept := [row for row in rows if row["tenant"] in known]:
        insert = make_insert(connection, TRIAL_FINDINGS)
        values = {name: insert.excluded[name] for name in ("trial", "seen", "findings")}
        connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=values), kept)


def _parse_findings(text: str) -> list[Finding]:
    return [Finding(**one) for one in json.loads(text)]
