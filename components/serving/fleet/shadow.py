"""Answer requests of shadow trials again with the challenger, in the background; these answers are never sent.

One request at a time, and only while no row waits in the engine's queue. Beyond the queue's size, requests of the
tenant with most of them are skipped. The answers of champion and challenger become evidence together, or neither. Only
counts are kept, no texts. Does not know HTTP.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from components.errors import DataError, PrefixFleetError, RegistryError, WorkspaceError
from components.otel.span import NO_SPAN, Span
from components.otel.spans import open_span
from components.registry.mlflow.versions import CHALLENGER, Version
from components.rollout.types import EvidenceTicket, Observation
from components.serving.background_engine import BackgroundEngine
from components.serving.errors import LOGGER_NAME
from components.serving.fleet.metrics import ServingMetrics
from components.serving.fleet.observation_buffer import ObservationBuffer, make_failure_observation, make_observation
from components.serving.interface import BusyError, Engine, GenerationRequest
from components.serving.request_sequences import RequestSequences

_POLL_SECONDS = 0.02

_Outcome = Literal["answered", "failed", "left out", "forgotten"]
"""forgotten: the tenant was, meanwhile; nothing is counted."""
_SPAN_OUTCOMES: dict[_Outcome, str] = {
    "answered": "done",
    "failed": "failed",
    "left out": "skipped",
    "forgotten": "skipped",
}


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A request that the champion has answered, or failed to answer."""

    challenger: Version
    requests: Sequence[GenerationRequest]
    """The request's rows with the challenger's artifact."""
    champion_texts: Sequence[str]
    """The champion's answer to each row."""
    token_limit: int
    """Tokens of an answer that counts as over-long."""
    champion_observation: Observation
    """The champion's answer to the first row."""
    ticket: EvidenceTicket | None
    """Makes both answers evidence; None: they are not."""
    span: Span = NO_SPAN
    """That of the request."""


class ShadowQueue:
    """The queue, and the task that works through it; use it from one event loop."""

    def __init__(
        self,
        engine: BackgroundEngine,
        observation_buffer: ObservationBuffer,
        metrics: ServingMetrics,
        max_size: int,
    ) -> None:
        """`max_size` is how many requests may wait."""
        self._engine, self._observation_buffer, self._metrics = engine, observation_buffer, metrics
        self._queue: asyncio.Queue[ShadowRequest] = asyncio.Queue(max(1, max_size))
        self._max_size = max_size
        self._current: ShadowRequest | None = None
        """The request being answered; None: there is none, or its tenant was forgotten."""

    def enqueue(self, request: ShadowRequest) -> None:
        """Queue a request. If the queue is full, the newest request of the tenant with most of them is skipped."""
        queued = [*self._take_queued(), request]
        if len(queued) > self._max_size:
            counts = Counter(one.challenger.tenant for one in queued)
            del queued[max(range(len(queued)), key=lambda place: (counts[queued[place].challenger.tenant], place))]
            self._metrics.shadows.labels("left out").inc()
        for one in queued:
            self._queue.put_nowait(one)

    def forget(self, tenant: str) -> None:
        """Remove a tenant's requests from the queue; the one being answered is not counted."""
        for request in self._take_queued():
            if request.challenger.tenant != tenant:
                self._queue.put_nowait(request)
        if self._current is not None and self._current.challenger.tenant == tenant:
            self._current = None

    def _take_queued(self) -> list[ShadowRequest]:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    async def run_forever(self) -> None:
        """Answer queued requests one by one, until cancelled."""
        while True:
            self._current = request = await self._queue.get()
            while self._current is request:
                engine = self._engine.engine
                if engine is None or engine.health().queued:
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                await self._run_request(engine, request)
                self._current = None

    async def _run_request(self, engine: Engine, request: ShadowRequest) -> None:
        version = request.challenger
        with open_span("shadow answer", parent=request.span, tenant=version.tenant, version=version.version) as span:
            outcome = await self._answer(engine, request, span)
            span.set(outcome=_SPAN_OUTCOMES[outcome])
        if outcome != "forgotten":
            self._metrics.shadows.labels(outcome).inc()

    async def _answer(self, engine: Engine, request: ShadowRequest, span: Span) -> _Outcome:
        challenger = request.challenger
        try:
            async with RequestSequences(request.requests) as sequences:
                await sequences.submit(engine)
                async for _ in sequences.stream_pieces():
                    pass
        except (BusyError, DataError, RegistryError, WorkspaceError) as problem:  # not the challenger's faults
            span.set(error=type(problem).__qualname__)
            return "left out"
        except PrefixFleetError as problem:
            span.fail(problem)
            if self._current is not request:
                return "forgotten"
            logging.getLogger(LOGGER_NAME).warning("shadow trial of %s: %s", challenger.tenant, problem)
            self._observation_buffer.add(make_failure_observation(challenger, CHALLENGER, len(request.requests)))
            self._add_evidence(request, make_failure_observation(challenger, CHALLENGER, 1))
            return "failed"
        if self._current is not request:
            return "forgotten"
        span.set(completion_tokens=sequences.completion_tokens)
        results, limit = sequences.results, request.token_limit
        agreed = sum(result.text == text for result, text in zip(results, request.champion_texts, strict=True))
        self._observation_buffer.add(make_observation(challenger, CHALLENGER, results, limit, agreed))
        self._add_evidence(request, make_observation(challenger, CHALLENGER, results[:1], limit))
        return "answered"

    def _add_evidence(self, request: ShadowRequest, challenger: Observation) -> None:
        if request.ticket is not None:
            champion = replace(request.champion_observation, minute=challenger.minute)
            self._observation_buffer.add_evidence(request.ticket, champion, challenger)
