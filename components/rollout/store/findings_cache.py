"""What each trial's evidence was last found to say, and of how many answers: kept from one cycle to the next.

Knows no check, and not when a trial is to be judged anew.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sql

from components.config.rollout import RolloutConfig
from components.rollout.store.tables import ROLLOUT_STATES, TRIAL_FINDINGS
from components.rollout.types import Finding, RolloutState
from components.storage.database import Database, make_insert


@dataclass(frozen=True, slots=True)
class TrialFindings:
    """One trial as it was last judged."""

    tenant: str
    trial: str
    """As `make_trial_key` names it."""
    seen: int
    """Answers and opinions of both versions by then."""
    findings: list[Finding]


def make_trial_key(state: RolloutState, config: RolloutConfig) -> str:
    """What tells a trial from another of the same tenant, or from itself under another configuration."""
    began = state.changes[0].second if state.changes else int(state.started_s)
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]
    return f"{state.champion}/{state.challenger}/{state.mode}/{began}/{digest}"


def read_findings(database: Database) -> dict[str, TrialFindings]:
    """Everybody's, in one query. Raises WorkspaceError."""
    with database.connect("what the trials were last found to be") as connection:
        rows = connection.execute(sql.select(TRIAL_FINDINGS)).all()
    return {row.tenant: TrialFindings(row.tenant, row.trial, row.seen, _parse_findings(row.findings)) for row in rows}


def save_findings(database: Database, findings: Iterable[TrialFindings]) -> None:
    """Keep these in the place of what was found before; nothing of a tenant forgotten since. Raises WorkspaceError."""
    rows = [
        {
            "tenant": one.tenant,
            "trial": one.trial,
            "seen": one.seen,
            "findings": json.dumps([finding.to_dict() for finding in one.findings]),
        }
        for one in findings
    ]
    with database.transaction("to keep what the trials are found to be") as connection:
        there = sql.select(ROLLOUT_STATES.c.tenant).where(ROLLOUT_STATES.c.tenant.in_([row["tenant"] for row in rows]))
        known = set(connection.execute(there).scalars())
        if kept := [row for row in rows if row["tenant"] in known]:
            insert = make_insert(connection, TRIAL_FINDINGS)
            values = {name: insert.excluded[name] for name in ("trial", "seen", "findings")}
            connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=values), kept)


def _parse_findings(text: str) -> list[Finding]:
    return [Finding(**one) for one in json.loads(text)]
