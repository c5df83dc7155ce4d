"""What serving saw of each version, for the rollout: added up in memory, written in batches.

Counts that the database does not take stay and go with the next batch; of those that it does not take for long, the
oldest are dropped. Knows no HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from components.errors import WorkspaceError
from components.registry.mlflow.versions import Version
from components.rollout.policy.answer_health import health
from components.rollout.store.database import Database
from components.rollout.store.evidence_writer import Evidence, Voice, to_evidence, write_down
from components.rollout.store.observations import bucket
from components.rollout.store.tables import COUNTS
from components.rollout.types import Arm, Observation, Ticket
from components.serving.errors import LOGGER
from components.serving.request_sequences import Row

_MOST = 100_000
_Cell = tuple[str, str, Arm, int, int]
_Request = tuple[str, int, int]
"""Tenant, and the section and place of its ticket."""
_Waiting = TypeVar("_Waiting")


class Watch:
    """Observations that wait to be written; to be used from one event loop."""

    def __init__(self, database: Database, most: int = _MOST) -> None:
        """`most` counts (of a version in a minute), and as many users, may wait for a database that fails.

        Of as many requests it is remembered that they were counted.
        """
        self._database, self._most = database, most
        self._waiting: dict[_Cell, Observation] = {}
        self._voices: dict[Voice, Evidence] = {}
        self._requests: dict[_Request, None] = {}
        """The newest requests with an id of their own that were counted as evidence."""
        self._forgotten: set[str] = set()
        """Tenants that were forgotten while a batch was being written."""
        self.trouble = ""
        """Why the last batch was not written, where it was not."""
        self.dropped = 0
        """Counts and users' answers that were dropped since the start."""

    def add(self, observation: Observation) -> None:
        """Count it with those of its version, arm and minute."""
        cell = observation.tenant, observation.version, observation.arm, observation.minute, observation.section
        known = self._waiting.get(cell)
        self._waiting[cell] = observation if known is None else _sum(known, observation)

    def once(self, tenant: str, ticket: Ticket) -> Ticket | None:
        """A request's ticket as that of one that comes once; None: its own id has been counted here before."""
        if ticket.place is None:
            return ticket
        request = tenant, ticket.section, ticket.place
        if request in self._requests:
            return None
        self._requests[request] = None
        _drop(self._requests, self._most)
        return Ticket(ticket.section, None)

    def judge(self, ticket: Ticket, *observations: Observation) -> None:
        """Let an answer to a key (in a shadow, both answers) be evidence, if it is the first; beside `add`."""
        found = to_evidence(ticket, *observations)
        if found.voice is not None:
            self._voices.setdefault(found.voice, found)
            return
        for observation in found.observations:
            self.add(observation)

    def forget(self, tenant: str) -> None:
        """Write nothing of a tenant, also of a batch that has to be written again."""
        self._forgotten.add(tenant)
        self._waiting = {cell: one for cell, one in self._waiting.items() if one.tenant != tenant}
        self._voices = {voice: one for voice, one in self._voices.items() if voice.tenant != tenant}
        self._requests = {request: None for request in self._requests if request[0] != tenant}

    async def write(self) -> None:
        """Write what waits; where that fails it waits on."""
        waiting, self._waiting = self._waiting, {}
        voices, self._voices = self._voices, {}
        self._forgotten.clear()
        if not waiting and not voices:
            return
        try:
            await asyncio.to_thread(write_down, self._database, waiting.values(), voices.values())
        except WorkspaceError as problem:
            if not self.trouble:
                logging.getLogger(LOGGER).warning("what serving saw waits to be written: %s", problem)
            self.trouble = str(problem)
            self._put_back(
                {cell: one for cell, one in waiting.items() if one.tenant not in self._forgotten},
                {voice: one for voice, one in voices.items() if voice.tenant not in self._forgotten},
            )
        else:
            self.trouble = ""

    def _put_back(self, waiting: dict[_Cell, Observation], voices: dict[Voice, Evidence]) -> None:
        """Before what has come since, so that the oldest are the first to be dropped."""
        newer, self._waiting = self._waiting, waiting
        for observation in newer.values():
            self.add(observation)
        self._voices = {**voices, **{voice: one for voice, one in self._voices.items() if voice not in voices}}
        dropped = _drop(self._waiting, self._most) + _drop(self._voices, self._most)
        if dropped and not self.dropped:
            logging.getLogger(LOGGER).error("too much waits to be written: the oldest of what serving saw is dropped")
        self.dropped += dropped

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


def _drop(waiting: dict[_Waiting, Any], most: int) -> int:
    """Drop the oldest beyond so many; returns how many they were."""
    oldest = list(islice(waiting, max(0, len(waiting) - most)))
    for one in oldest:
        del waiting[one]
    return len(oldest)


def _sum(one: Observation, other: Observation) -> Observation:
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNTS}
    numbers = {*one.latencies, *other.latencies}
    latencies = {number: one.latencies.get(number, 0) + other.latencies.get(number, 0) for number in numbers}
    return replace(one, **counts, latencies=latencies)


def _minute() -> int:
    return int(time.time() // 60)
