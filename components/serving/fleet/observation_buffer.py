"""Count the answers of each version for the rollout: add up in memory, write to the database in batches.

If a write fails, its counts go with the next batch. If too many wait, the oldest of the tenant with most are dropped.
Does not know HTTP.
"""

import asyncio
import heapq
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from components.errors import WorkspaceError
from components.registry.mlflow.versions import Version
from components.rollout.policy.answer_health import assess_answer
from components.rollout.store.evidence_writer import Evidence, EvidenceKey, to_evidence, write_observations
from components.rollout.store.observations import to_latency_bucket
from components.rollout.store.tables import COUNT_COLUMNS
from components.rollout.types import Arm, EvidenceTicket, Observation
from components.serving.errors import LOGGER_NAME
from components.serving.fair_cache import FairCache
from components.serving.request_sequences import SequenceResult
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database

_MAX_ENTRIES = 100_000
_CellKey = tuple[str, str, Arm, int, int]
"""Tenant, version, arm, minute, section."""
_RequestKey = tuple[str, int, int]
"""Tenant, and the section and place of the request's ticket."""
_Key = TypeVar("_Key")


class ObservationBuffer:
    """Observations that wait to be written; use it from one event loop."""

    def __init__(self, database: Database, max_entries: int = _MAX_ENTRIES) -> None:
        """`max_entries` limits the counts (one per version and minute) and the users that may wait while writes fail.

        It also limits the requests that are remembered for deduplication.
        """
        self._database, self._max_entries = database, max_entries
        self._pool = FairThreadPool("evidence")
        self._observations: dict[_CellKey, Observation] = {}
        self._evidence: dict[EvidenceKey, Evidence] = {}
        self._counted_requests: FairCache[_RequestKey, None] = FairCache(max_entries)
        """The most recent requests with an id that were counted as evidence."""
        self._forgotten_tenants: set[str] = set()
        """Tenants that were forgotten since the last write began."""
        self.write_error = ""
        """Why the last batch could not be written; "": it was written."""
        self.dropped = 0
        """Counts and users' answers dropped since the start."""

    def add(self, observation: Observation) -> None:
        """Add an observation to the counts of its version, arm and minute."""
        cell = observation.tenant, observation.version, observation.arm, observation.minute, observation.section
        known = self._observations.get(cell)
        self._observations[cell] = observation if known is None else _add_counts(known, observation)

    def deduplicate_ticket(self, tenant: str, ticket: EvidenceTicket) -> EvidenceTicket | None:
        """Return the ticket without its key, or None if this request's id was counted as evidence before.

        A ticket without a key is not deduplicated and is returned as it is.
        """
        if ticket.place is None:
            return ticket
        request = tenant, ticket.section, ticket.place
        if request in self._counted_requests:
            return None
        self._counted_requests.put(tenant, request, None)
        return EvidenceTicket(ticket.section, None)

    def add_evidence(self, ticket: EvidenceTicket, *observations: Observation) -> None:
        """Count an answer (in a shadow trial, both answers) as evidence if it is the first to its key.

        Call `add` too: evidence is counted separately.
        """
        evidence = to_evidence(ticket, *observations)
        if evidence.key is not None:
            self._evidence.setdefault(evidence.key, evidence)
            return
        for observation in evidence.observations:
            self.add(observation)

    def forget(self, tenant: str) -> None:
        """Drop everything of a tenant, including a batch that is being written if its write fails."""
        self._forgotten_tenants.add(tenant)
        self._observations = {cell: one for cell, one in self._observations.items() if one.tenant != tenant}
        self._evidence = {key: one for key, one in self._evidence.items() if key.tenant != tenant}
        self._counted_requests.remove_tenant(tenant)

    async def flush(self) -> None:
        """Write everything that waits; if the write fails, it waits for the next one."""
        observations, self._observations = self._observations, {}
        evidence, self._evidence = self._evidence, {}
        self._forgotten_tenants.clear()
        if not observations and not evidence:
            return
        try:
            await self._pool.run(lambda: write_observations(self._database, observations.values(), evidence.values()))
        except WorkspaceError as problem:
            if not self.write_error:
                logging.getLogger(LOGGER_NAME).warning("counts of answers wait to be written: %s", problem)
            self.write_error = str(problem)
            forgotten = self._forgotten_tenants
            self._requeue(
                {cell: one for cell, one in observations.items() if one.tenant not in forgotten},
                {key: one for key, one in evidence.items() if key.tenant not in forgotten},
            )
        else:
            self.write_error = ""

    def _requeue(self, observations: dict[_CellKey, Observation], evidence: dict[EvidenceKey, Evidence]) -> None:
        """Put these before newer ones, as the oldest are dropped first."""
        newer, self._observations = self._observations, observations
        for observation in newer.values():
            self.add(observation)
        self._evidence = {**evidence, **{key: one for key, one in self._evidence.items() if key not in evidence}}
        dropped = _discard_oldest(self._observations, self._max_entries, lambda cell: cell[0])
        dropped += _discard_oldest(self._evidence, self._max_entries, lambda key: key.tenant)
        if dropped and not self.dropped:
            logging.getLogger(LOGGER_NAME).error(
                "too many counts of answers wait to be written: the oldest are dropped"
            )
        self.dropped += dropped

    async def run_forever(self, seconds: float) -> None:
        """Write every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.flush()


def make_observation(
    version: Version, arm: Arm, rows: Iterable[SequenceResult], token_limit: int, agreed: int = 0
) -> Observation:
    """Count rows that ended without an error, for this minute.

    An answer is over-long if it was cut at `token_limit` tokens, the tenant's own limit. An answer that was cut at a
    lower limit, which the request has set, is not.
    """
    results = list(rows)
    healths = [
        assess_answer(result.text, is_cut=result.finish == "length" and result.request.max_tokens >= token_limit)
        for result in results
    ]
    latencies = Counter(to_latency_bucket(result.seconds * 1000) for result in results)
    return Observation(
        tenant=version.tenant,
        version=version.version,
        arm=arm,
        minute=_get_current_minute(),
        requests=len(results),
        empty=sum(one.empty for one in healths),
        repeated=sum(one.repeated for one in healths),
        over_long=sum(one.over_long for one in healths),
        tokens=sum(result.token_count for result in results),
        agreed=agreed,
        latencies=dict(latencies),
    )


def make_failure_observation(version: Version, arm: Arm, count: int) -> Observation:
    """Count `count` rows that failed by an error of the server or the version, for this minute."""
    return Observation(
        tenant=version.tenant,
        version=version.version,
        arm=arm,
        minute=_get_current_minute(),
        requests=count,
        errors=count,
    )


def _discard_oldest(entries: dict[_Key, Any], max_entries: int, get_tenant: Callable[[_Key], str]) -> int:
    """Delete entries beyond `max_entries`, each the oldest of the tenant that has most; returns how many."""
    excess = max(0, len(entries) - max_entries)
    if not excess:
        return 0
    by_tenant: dict[str, deque[_Key]] = {}
    for key in entries:
        by_tenant.setdefault(get_tenant(key), deque()).append(key)
    most_first = [(-len(keys), tenant) for tenant, keys in by_tenant.items()]
    heapq.heapify(most_first)
    for _ in range(excess):
        negative_count, tenant = most_first[0]
        del entries[by_tenant[tenant].popleft()]
        heapq.heapreplace(most_first, (negative_count + 1, tenant))
    return excess


def _add_counts(one: Observation, other: Observation) -> Observation:
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNT_COLUMNS}
    latencies = Counter(one.latencies) + Counter(other.latencies)
    return replace(one, **counts, latencies=dict(latencies))


def _get_current_minute() -> int:
    return int(time.time() // 60)
