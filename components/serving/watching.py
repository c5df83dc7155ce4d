"""What serving saw of each version, for the rollout: added up in memory, written in batches.

Counts that the database does not take stay and go with the next batch. Knows no HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import replace

from components.errors import WorkspaceError
from components.registry.versions import Version
from components.rollout.database import Database
from components.rollout.health import health
from components.rollout.observations import Observation, bucket, record
from components.rollout.split import Arm
from components.rollout.tables import COUNTS
from components.serving.problems import LOGGER
from components.serving.rows import Row

_Cell = tuple[str, str, Arm, int]


class Watch:
    """Observations that wait to be written; to be used from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[_Cell, Observation] = {}
        self.trouble = ""
        """Why the last batch was not written, where it was not."""

    def add(self, observation: Observation) -> None:
        """Count it with those of its version, arm and minute."""
        cell = observation.tenant, observation.version, observation.arm, observation.minute
        known = self._waiting.get(cell)
        self._waiting[cell] = observation if known is None else _sum(known, observation)

    def forget(self, tenant: str) -> None:
        """Write nothing of a tenant."""
        self._waiting = {cell: one for cell, one in self._waiting.items() if one.tenant != tenant}

    async def write(self) -> None:
        """Write what waits; where that fails it waits on."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            await asyncio.to_thread(record, self._database, waiting.values())
        except WorkspaceError as problem:
            if not self.trouble:
                logging.getLogger(LOGGER).warning("what serving saw waits to be written: %s", problem)
            self.trouble = str(problem)
            for observation in waiting.values():
                self.add(observation)
        else:
            self.trouble = ""

    async def follow(self, seconds: float) -> None:
        """Write again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.write()


def seen(version: Version, arm: Arm, rows: Iterable[Row], limit: int, agreed: int = 0) -> Observation:
    """Rows that have ended well, as counts of this minute.

    An answer is over-long that was cut at `limit` tokens, the tenant's own: any version is cut where a caller asks for
    less.
    """
    ended = list(rows)
    healths = [health(row.text, cut=row.finish == "length" and row.request.max_tokens >= limit) for row in ended]
    latencies: dict[int, int] = {}
    for row in ended:
        number = bucket(row.seconds * 1000)
        latencies[number] = latencies.get(number, 0) + 1
    return Observation(
        tenant=version.tenant,
        version=version.version,
        arm=arm,
        minute=_minute(),
        requests=len(ended),
        empty=sum(one.empty for one in healths),
        repeated=sum(one.repeated for one in healths),
        over_long=sum(one.over_long for one in healths),
        tokens=sum(row.tokens for row in ended),
        agreed=agreed,
        latencies=latencies,
    )


def failed(version: Version, arm: Arm, rows: int) -> Observation:
    """Rows that we failed, as counts of this minute."""
    return Observation(
        tenant=version.tenant, version=version.version, arm=arm, minute=_minute(), requests=rows, errors=rows
    )


def _sum(one: Observation, other: Observation) -> Observation:
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNTS}
    numbers = {*one.latencies, *other.latencies}
    latencies = {number: one.latencies.get(number, 0) + other.latencies.get(number, 0) for number in numbers}
    return replace(one, **counts, latencies=latencies)


def _minute() -> int:
    return int(time.time() // 60)
