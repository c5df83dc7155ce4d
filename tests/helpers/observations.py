"""Reads observations back from the rollout's database."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from components.rollout.store.tables import LATENCIES, OBSERVATIONS
from components.rollout.types import Observation
from components.storage.database import Database

_KEY = ("tenant", "version", "arm", "minute", "section")


def read_observations(
    database: Database, tenant: str, versions: Sequence[str], since: int, until: int, *, evidence: bool = False
) -> list[Observation]:
    """Return a tenant's observations from minute `since` to before `until`, in order of sections and time.

    Of all answers; with `evidence`, only of evidence. Raises WorkspaceError.
    """
    with database.connect(f"the observations of {tenant}") as connection:
        counts, latencies = (
            connection.execute(
                sql.select(table)
                .where(table.c.tenant == tenant, table.c.version.in_(list(versions)))
                .where(table.c.minute >= since, table.c.minute < until)
                .where(table.c.section > 0 if evidence else table.c.section == 0)
                .order_by(table.c.section, table.c.minute, table.c.arm)
            )
            .mappings()
            .all()
            for table in (OBSERVATIONS, LATENCIES)
        )
    buckets: dict[tuple[Any, ...], dict[int, int]] = {}
    for row in latencies:
        buckets.setdefault(_get_key(row), {})[row["bucket"]] = row["answers"]
    return [
        Observation(**{str(name): value for name, value in row.items()}, latencies=buckets.get(_get_key(row), {}))
        for row in counts
    ]


def _get_key(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)
