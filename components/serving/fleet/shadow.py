"""Challengers that answer unseen: the same rows again, in the background, where the engine has nothing else to do.

One shadowed request at a time, and only while no row waits; what is more than the queue holds is not shadowed. Both
answers become evidence together, or neither. Only counts are kept, never a text. Knows no HTTP.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.errors import DataError, PrefixFleetError, RegistryError, WorkspaceError
from components.registry.mlflow.versions import CHALLENGER, Version
from components.rollout.types import EvidenceTicket, Observation
from components.serving.background_engine import BackgroundEngine
from components.serving.errors import LOGGER_NAME
from components.serving.fleet.metrics import ServingMetrics
from components.serving.fleet.observation_buffer import ObservationBuffer, make_failure_observation, make_observation
from components.serving.interface import BusyError, Engine, GenerationRequest
from components.serving.request_sequences import RequestSequences

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A request that its champion has answered, or failed to."""

    challenger: Version
    """The challenger."""
    requests: Sequence[GenerationRequest]
    """The challenger's rows, as it would have been asked."""
    champion_texts: Sequence[str]
    """What the champion answered."""
    token_limit: int
    """Tokens from which on an answer is over-long."""
    champion_observation: Observation
    """Its first row, as the champion answered it."""
    ticket: EvidenceTicket | None
    """What makes both answers evidence."""


class ShadowQueue:
    """The queue and the one who works it off; to be used from one event loop."""

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
        """What is being answered; None also where its tenant was forgotten meanwhile."""

    def enqueue(self, request: ShadowRequest) -> None:
        """Let the challenger answer later, or not at all where too many wait."""
        if self._queue.qsize() >= self._max_size:
            self._metrics.shadows.labels("left out").inc()
        else:
            self._queue.put_nowait(request)

    def forget(self, tenant: str) -> None:
        """Let nothing of a tenant be answered, and what is being answered not be counted."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for one in waiting:
            if one.challenger.tenant != tenant:
                self._queue.put_nowait(one)
        if self._current is not None and self._current.challenger.tenant == tenant:
            self._current = None

    async def run_forever(self) -> None:
        """Work the queue off, until cancelled."""
        while True:
            self._current = one = await self._queue.get()
            while self._current is one:
                engine = self._engine.engine
                if engine is None or engine.health().queued:
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                await self._run_request(engine, one)
                self._current = None

    async def _run_request(self, engine: Engine, one: ShadowRequest) -> None:
        try:
            async with RequestSequences(one.requests) as unseen:
                await unseen.submit(engine)
                async for _ in unseen.stream_pieces():
                    pass
        except (BusyError, DataError, RegistryError, WorkspaceError):  # nothing that the challenger can help
            self._metrics.shadows.labels("left out").inc()
            return
        except PrefixFleetError as problem:
            if self._current is not one:
                return
            logging.getLogger(LOGGER_NAME).warning("shadow of %s: %s", one.challenger.tenant, problem)
            self._observation_buffer.add(make_failure_observation(one.challenger, CHALLENGER, len(one.requests)))
            self._add_evidence(one, make_failure_observation(one.challenger, CHALLENGER, 1))
            self._metrics.shadows.labels("failed").inc()
            return
        if self._current is not one:
            return
        agreed = sum(row.text == theirs for row, theirs in zip(unseen.results, one.champion_texts, strict=True))
        self._observation_buffer.add(
            make_observation(one.challenger, CHALLENGER, unseen.results, one.token_limit, agreed)
        )
        self._add_evidence(one, make_observation(one.challenger, CHALLENGER, unseen.results[:1], one.token_limit))
        self._metrics.shadows.labels("answered").inc()

    def _add_evidence(self, one: ShadowRequest, challenger: Observation) -> None:
        if one.ticket is not None:
            self._observation_buffer.add_evidence(
                one.ticket, replace(one.champion_observation, minute=challenger.minute), challenger
            )
