"""Reads how many requests each arm of a trial answered over time. Knows no check and no policy."""

from dataclasses import dataclass

import sqlalchemy as sql

from components.rollout.store.tables import OBSERVATIONS
from components.rollout.types import RolloutState
from components.storage.database import Database

_MAX_PERIODS = 200


@dataclass(frozen=True, slots=True)
class TrafficPeriod:
    """The requests of one period of a trial."""

    minute: int
    """Its first minute since 1970."""
    champion: int
    challenger: int


def read_trial_traffic(database: Database, trial: RolloutState, until_minute: int) -> tuple[int, list[TrafficPeriod]]:
    """Return the length of a period in minutes, and the periods with requests before a minute, at most 201.

    Raises WorkspaceError.
    """
    length = max(1, -(-(until_minute - trial.start_minute) // _MAX_PERIODS))
    cell = OBSERVATIONS.c
    period = cell.minute - cell.minute % length
    query = (
        sql.select(
            period,
            sql.func.sum(sql.case((cell.version == trial.champion, cell.requests), else_=0)),
            sql.func.sum(sql.case((cell.version == trial.challenger, cell.requests), else_=0)),
        )
        .where(cell.tenant == trial.tenant, cell.section == 0)
        .where(cell.minute >= trial.start_minute, cell.minute < until_minute)
        .group_by(period)
        .order_by(period)
    )
    with database.connect(f"the traffic of {trial.tenant}") as connection:
        return length, [TrafficPeriod(int(at), int(one), int(two)) for at, one, two in connection.execute(query).all()]
