"""When the fleet's newest record was written, by the clocks of the machines that wrote."""

from datetime import datetime

import sqlalchemy as sql

from components.rollout.store.tables import LEDGER, OBSERVATIONS, RUNS
from components.storage.database import Database


def find_newest_record(database: Database) -> float | None:
    """Return seconds since 1970 of the newest move, run or observation; None: there is none. Raises WorkspaceError."""
    newest_move = sql.select(LEDGER.c.at).order_by(LEDGER.c.id.desc()).limit(1)
    newest_run = sql.select(RUNS.c.began_at).order_by(RUNS.c.id.desc()).limit(1)
    with database.connect("the newest record of the fleet") as connection:
        texts = [connection.execute(query).scalar() for query in (newest_move, newest_run)]
        minute = connection.execute(sql.select(sql.func.max(OBSERVATIONS.c.minute))).scalar()
    times = [datetime.fromisoformat(text).timestamp() for text in texts if text]
    times += [60.0 * minute] if minute is not None else []
    return max(times, default=None)
