"""When each flow last came to its end, and how many tenants failed in it; one row a flow.

`prefixfleet_runs` has only retrainings that had something to do. Knows no flow.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import sqlalchemy as sql

from components.rollout.store.tables import FLOW_ENDS
from components.storage.database import Database, make_insert

FlowName = Literal["retrain", "retrain-named", "rollout", "migrate", "watch"]
"""retrain: of all tenants; retrain-named: of those that somebody or a cause named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEnd:
    """The last execution of a flow that was not stopped by an error. Times are seconds since 1970."""

    flow: FlowName
    began_s: float
    ended_s: float
    failed_tenants: int


def write_flow_end(database: Database, end: FlowEnd) -> None:
    """Replace what is recorded of the flow. Raises WorkspaceError."""
    row = asdict(end)
    with database.transaction("to record the end of a flow") as connection:
        insert = make_insert(connection, FLOW_ENDS).values(row)
        connection.execute(insert.on_conflict_do_update(index_elements=[FLOW_ENDS.c.flow], set_=row))


def read_flow_ends(database: Database) -> list[FlowEnd]:
    """Return the last end of each flow that has one, by name. Raises WorkspaceError."""
    with database.connect("the ends of flows") as connection:
        rows = connection.execute(sql.select(FLOW_ENDS).order_by(FLOW_ENDS.c.flow)).mappings()
        return [FlowEnd(**dict(row)) for row in rows]
