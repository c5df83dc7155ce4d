"""What each trial's evidence was last found to say, and of how many answers: kept from one cycle to the next.

Knows no check, and not when a trial is to be judged anew.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sql

from components.config.rollout import RolloutConfig
from components.rollout.store.database import Database, insert_into
from components.rollout.store.tables import JUDGED, STANDINGS
from components.rollout.types import Finding, Standing


@dataclass(frozen=True, slots=True)
class Judged:
    """One trial as it was last judged."""

    tenant: str
    trial: str
    """As `trial_of` names it."""
    seen: int
    """Answers and opinions of both versions by then."""
    findings: list[Finding]


def trial_of(standing: Standing, config: RolloutConfig) -> str:
    """What tells a trial from another of the same tenant, or from itself under another configuration."""
    began = standing.changes[0].second if standing.changes else int(standing.started_s)
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]
    return f"{standing.champion}/{standing.challenger}/{standing.mode}/{began}/{digest}"


def judged(database: Database) -> dict[str, Judged]:
    """Everybody's, in one query. Raises WorkspaceError."""
    with database.reading("what the trials were last found to be") as connection:
        rows = connection.execute(sql.select(JUDGED)).all()
    return {row.tenant: Judged(row.tenant, row.trial, row.seen, _findings(row.findings)) for row in rows}


def keep(database: Database, found: Iterable[Judged]) -> None:
    """Keep these in the place of what was found before; nothing of a tenant forgotten since. Raises WorkspaceError."""
    rows = [
        {
            "tenant": one.tenant,
            "trial": one.trial,
            "seen": one.seen,
            "findings": json.dumps([finding.figures() for finding in one.findings]),
        }
        for one in found
    ]
    with database.writing("to keep what the trials are found to be") as connection:
        there = sql.select(STANDINGS.c.tenant).where(STANDINGS.c.tenant.in_([row["tenant"] for row in rows]))
        known = set(connection.execute(there).scalars())
        if kept := [row for row in rows if row["tenant"] in known]:
            insert = insert_into(connection, JUDGED)
            values = {name: insert.excluded[name] for name in ("trial", "seen", "findings")}
            connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=values), kept)


def _findings(text: str) -> list[Finding]:
    return [Finding(**one) for one in json.loads(text)]
