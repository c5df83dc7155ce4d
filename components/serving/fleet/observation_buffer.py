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

from cachetools import FIFOCache

from components.errors import WorkspaceError
from components.registry.mlflow.versions import Version
from components.rollout.policy.answer_health import assess_answer
from components.rollout.store.evidence_writer import Evidence, EvidenceKey, to_evidence, write_observations
from components.rollout.store.observations import to_latency_bucket
from components.rollout.store.tables import COUNT_COLUMNS
from components.rollout.types import Arm, EvidenceTicket, Observation
from components.serving.errors import LOGGER_NAME
from components.serving.request_sequences import SequenceResult
from components.storage.database import Database

_MAX_ENTRIES = 100_000
_CellKey = tuple[str, str, Arm, int, int]
_RequestKey = tuple[str, int, int]
"""Tenant, and the section and place of its ticket."""
_Key = TypeVar("_Key")


class ObservationBuffer:
    """Observations that wait to be written; to be used from one event loop."""

    def __init__(self, database: Database, max_entries: int = _MAX_ENTRIES) -> None:
        """`max_entries` counts (of a version in a minute), and as many users, may wait for a database that fails.

        Of as many requests it is remembered that they were counted.
        """
        self._database, self._max_entries = database, max_entries
        self._observations: dict[_CellKey, Observation] = {}
        self._evidence: dict[EvidenceKey, Evidence] = {}
        self._counted_requests: FIFOCache[_RequestKey, None] = FIFOCache(max_entries)
        """The newest requests with an id of their own that were counted as evidence."""
        self._forgotten_tenants: set[str] = set()
        """Tenants that were forgotten while a batch was being written."""
        self.write_error = ""
        """Why the last batch was not written, where it was not."""
        self.dropped = 0
        """Counts and users' answers that were dropped since the start."""

    def add(self, observation: Observation) -> None:
        """Count it with those of its version, arm and minute."""
        cell = observation.tenant, observation.version, observation.arm, observation.minute, observation.section
        known = self._observations.get(cell)
        self._observations[cell] = observation if known is None else _add_counts(known, observation)

    def deduplicate_ticket(self, tenant: str, ticket: EvidenceTicket) -> EvidenceTicket | None:
        """A request's ticket as that of one that comes once; None: its own id has been counted here before."""
        if ticket.place is None:
            return ticket
        request = tenant, ticket.section, ticket.place
        if request in self._counted_requests:
            return None
        self._counted_requests[request] = None
        return EvidenceTicket(ticket.section, None)

    def add_evidence(self, ticket: EvidenceTicket, *observations: Observation) -> None:
        """Let an answer to a key (in a shadow, both answers) be evidence, if it is the first; beside `add`."""
        found = to_evidence(ticket, *observations)
        if found.key is not None:
            self._evidence.setdefault(found.key, found)
            return
        for observation in found.observations:
            self.add(observation)

    def forget(self, tenant: str) -> None:
        """Write nothing of a tenant, also of a batch that has to be written again."""
        self._forgotten_tenants.add(tenant)
        self._observations = {cell: one for cell, one in self._observations.items() if one.tenant != tenant}
        self._evidence = {voice: one for voice, one in self._evidence.items() if voice.tenant != tenant}
        for request in [request for request in self._counted_requests if request[0] == tenant]:
            del self._counted_requests[request]

    async def flush(self) -> None:
        """Write what waits; where that fails it waits on."""
        waiting, self._observations = self._observations, {}
        voices, self._evidence = self._evidence, {}
        self._forgotten_tenants.clear()
        if not waiting and not voices:
            return
        try:
            await asyncio.to_thread(write_observations, self._database, waiting.values(), voices.values())
        except WorkspaceError as problem:
            if not self.write_error:
                logging.getLogger(LOGGER_NAME).warning("what serving saw waits to be written: %s", problem)
            self.write_error = str(problem)
            self._requeue(
                {cell: one for cell, one in waiting.items() if one.tenant not in self._forgotten_tenants},
                {voice: one for voice, one in voices.items() if voice.tenant not in self._forgotten_tenants},
            )
        else:
            self.write_error = ""

    def _requeue(self, waiting: dict[_CellKey, Observation], voices: dict[EvidenceKey, Evidence]) -> None:
        """Before what has come since, so that the oldest are the first to be dropped."""
        newer, self._observations = self._observations, waiting
        for observation in newer.values():
            self.add(observation)
        self._evidence = {**voices, **{voice: one for voice, one in self._evidence.items() if voice not in voices}}
        dropped = _discard_oldest(self._observations, self._max_entries) + _discard_oldest(
            self._evidence, self._max_entries
        )
        if dropped and not self.dropped:
            logging.getLogger(LOGGER_NAME).error(
                "too much waits to be written: the oldest of what serving saw is dropped"
            )
        self.dropped += dropped

    async def run_forever(self, seconds: float) -> None:
        """Write again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.flush()


def make_observation(
    version: Version, arm: Arm, rows: Iterable[SequenceResult], token_limit: int, agreed: int = 0
) -> Observation:
    """Rows that have ended well, as counts of this minute.

    An answer is over-long that was cut at `token_limit` tokens, the tenant's own: any version is cut where a caller
    asks for less.
    """
    ended = list(rows)
    healths = [
        assess_answer(row.text, is_cut=row.finish == "length" and row.request.max_tokens >= token_limit)
        for row in ended
    ]
    latencies: dict[int, int] = {}
    for row in ended:
        number = to_latency_bucket(row.seconds * 1000)
        latencies[number] = latencies.get(number, 0) + 1
    return Observation(
        tenant=version.tenant,
        version=version.version,
        arm=arm,
        minute=_get_current_minute(),
        requests=len(ended),
        empty=sum(one.empty for one in healths),
        repeated=sum(one.repeated for one in healths),
        over_long=sum(one.over_long for one in healths),
        tokens=sum(row.token_count for row in ended),
        agreed=agreed,
        latencies=latencies,
    )


def make_failure_observation(version: Version, arm: Arm, count: int) -> Observation:
    """Rows that we failed, as counts of this minute."""
    return Observation(
        tenant=version.tenant,
        version=version.version,
        arm=arm,
        minute=_get_current_minute(),
        requests=count,
        errors=count,
    )


def _discard_oldest(waiting: dict[_Key, Any], max_entries: int) -> int:
    """Drop the oldest beyond so many; returns how many they were."""
    oldest = list(islice(waiting, max(0, len(waiting) - max_entries)))
    for one in oldest:
        del waiting[one]
    return len(oldest)


def _add_counts(one: Observation, other: Observation) -> Observation:
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNT_COLUMNS}
    numbers = {*one.latencies, *other.latencies}
    latencies = {number: one.latencies.get(number, 0) + other.latencies.get(number, 0) for number in numbers}
    return replace(one, **counts, latencies=latencies)


def _get_current_minute() -> int:
    return int(time.time() // 60)
