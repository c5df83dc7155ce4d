"""Where each tenant stands in its rollout, as the last move left it; servers read from it who answers what.

MLflow's aliases are the truth about versions. What stands here beside them is what no alias can say: the step of the
trial, its share, since when, and whether a person has stopped it. Knows no policy.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.database import Database, insert_into
from components.rollout.store.tables import COUNTED, STANDINGS
from components.rollout.types import Change, Exposure, Standing

_NEVER = 2**62
"""A second that no trial begins in."""


def exposures(database: Database) -> dict[str, Exposure]:
    """Tenant -> exposure of its challenger, in one query for the fleet.

    A server follows it only while MLflow's alias `challenger` is on the same version. Raises WorkspaceError.
    """
    on_trial = (one for one in standings(database).values() if one.challenger and one.share > 0)
    return {one.tenant: _exposure(one) for one in on_trial}


def standings(database: Database) -> dict[str, Standing]:
    """Everybody's, in one query. Raises WorkspaceError."""
    with database.reading("where the tenants' rollouts stand") as connection:
        rows = connection.execute(sql.select(STANDINGS)).mappings()
        return {row["tenant"]: from_row(row) for row in rows}


def standing(database: Database, tenant: str) -> Standing:
    """One tenant's; an empty one where nothing is known. Raises WorkspaceError."""
    query = sql.select(STANDINGS).where(STANDINGS.c.tenant == tenant)
    with database.reading(f"where the rollout of {tenant} stands") as connection:
        row = connection.execute(query).mappings().first()
    return Standing(tenant=tenant) if row is None else from_row(row)


def adopt(database: Database, found: Sequence[Standing]) -> None:
    """Remember tenants of whom nothing is known, and no others. Raises WorkspaceError."""
    if found:
        with database.writing("to remember champions") as connection:
            insert = insert_into(connection, STANDINGS)
            connection.execute(insert.on_conflict_do_nothing(index_elements=["tenant"]), [to_row(one) for one in found])


def put(connection: Connection, changed: Iterable[Standing]) -> None:
    """Write standings within the transaction of the ledger's lines on them; who was counted in older trials goes."""
    changed = list(changed)
    rows = [to_row(one) for one in changed]
    if not rows:
        return
    insert = insert_into(connection, STANDINGS)
    values = {name: insert.excluded[name] for name in rows[0] if name != "tenant"}
    connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=values), rows)
    older = (COUNTED.c.tenant == sql.bindparam("whose"), COUNTED.c.section < sql.bindparam("first"))
    firsts = [{"whose": one.tenant, "first": one.changes[0].second if one.changes else _NEVER} for one in changed]
    connection.execute(sql.delete(COUNTED).where(*older), firsts)


def drop(connection: Connection, tenant: str) -> None:
    """Know nothing of a tenant any more."""
    connection.execute(sql.delete(STANDINGS).where(STANDINGS.c.tenant == tenant))


def from_row(row: Mapping[Any, Any]) -> Standing:
    """The standing of a row of its table."""
    return Standing(**_named(row))


def to_row(one: Standing) -> dict[str, Any]:
    """Plain values, as `from_row` takes them."""
    return {**asdict(one), "changes": json.dumps(one.changes)}


def _exposure(one: Standing) -> Exposure:
    before = one.changes[-2].share if len(one.changes) > 1 else 0.0
    since = one.changes[-1].second if one.changes else 0
    return Exposure(one.challenger, one.share, one.mode == "shadow", before, since)


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    changes = tuple(Change(*one) for one in json.loads(row["changes"]))
    return {**{str(name): value for name, value in row.items()}, "changes": changes}
