"""What serving saw, read back from the rollout's database as observations."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from components.rollout.store.tables import LATENCIES, OBSERVATIONS
from components.rollout.types import Observation
from components.storage.database import Database

_KEY = ("tenant", "version", "arm", "minute", "section")


def observed(
    database: Database, tenant: str, versions: Sequence[str], since: int, until: int, *, evidence: bool = False
) -> list[Observation]:
    """What was seen of a tenant's versions from minute `since` to before `until`, in the order of sections and time.

    All answers, or with `evidence` those that are evidence. Raises WorkspaceError.
    """
    with database.connect(f"what serving saw of {tenant}") as connection:
        cells, slow = (
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
    for row in slow:
        buckets.setdefault(_key_of(row), {})[row["bucket"]] = row["answers"]
    return [
        Observation(**{str(name): value for name, value in row.items()}, latencies=buckets.get(_key_of(row), {}))
        for row in cells
    ]


def _key_of(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)
