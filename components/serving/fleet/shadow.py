"""Challengers that answer unseen: the same rows again, in the background, where the engine has nothing else to do.

One shadowed request at a time, and only while no row waits; what is more than the queue holds is not shadowed. Both
answers become evidence together, or neither. Only counts are kept, never a text. Knows no HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from components.errors import DataError, PrefixFleetError, RegistryError, WorkspaceError
from components.registry.mlflow.versions import CHALLENGER, Version
from components.rollout.types import Observation, Ticket
from components.serving.errors import LOGGER
from components.serving.fleet.metrics import Metrics
from components.serving.fleet.observation_buffer import Watch, failed, seen
from components.serving.interface import BusyError, Engine, Request
from components.serving.request_sequences import Rows

_PATIENCE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A request that its champion has answered, or failed to."""

    version: Version
    """The challenger."""
    requests: Sequence[Request]
    """The challenger's rows, as it would have been asked."""
    texts: Sequence[str]
    """What the champion answered."""
    limit: int
    """Tokens from which on an answer is over-long."""
    champion: Observation
    """Its first row, as the champion answered it."""
    ticket: Ticket | None
    """What makes both answers evidence."""


class Shadows:
    """The queue and the one who works it off; to be used from one event loop."""

    def __init__(self, engine: Callable[[], Engine | None], watch: Watch, metrics: Metrics, size: int) -> None:
        """`size` is how many requests may wait."""
        self._engine, self._watch, self._metrics = engine, watch, metrics
        self._queue: asyncio.Queue[Shadowed] = asyncio.Queue(max(1, size))
        self._size = size
        self._now: Shadowed | None = None
        """What is being answered; None also where its tenant was forgotten meanwhile."""

    def offer(self, shadowed: Shadowed) -> None:
        """Let the challenger answer later, or not at all where too many wait."""
        if self._queue.qsize() >= self._size:
            self._metrics.shadows.labels("left out").inc()
        else:
            self._queue.put_nowait(shadowed)

    def forget(self, tenant: str) -> None:
        """Let nothing of a tenant be answered, and what is being answered not be counted."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for one in waiting:
            if one.version.tenant != tenant:
                self._queue.put_nowait(one)
        if self._now is not None and self._now.version.tenant == tenant:
            self._now = None

    async def follow(self) -> None:
        """Work the queue off, until cancelled."""
        while True:
            self._now = one = await self._queue.get()
            while self._now is one:
                engine = self._engine()
                if engine is None or engine.health().queued:
                    await asyncio.sleep(_PATIENCE_SECONDS)
                    continue
                await self._answer(engine, one)
                self._now = None

    async def _answer(self, engine: Engine, one: Shadowed) -> None:
        try:
            async with Rows(one.requests) as unseen:
                await unseen.submit(engine)
                async for _ in unseen.pieces():
                    pass
        except (BusyError, DataError, RegistryError, WorkspaceError):  # nothing that the challenger can help
            self._metrics.shadows.labels("left out").inc()
            return
        except PrefixFleetError as problem:
            if self._now is not one:
                return
            logging.getLogger(LOGGER).warning("shadow of %s: %s", one.version.tenant, problem)
            self._watch.add(failed(one.version, CHALLENGER, len(one.requests)))
            self._judge(one, failed(one.version, CHALLENGER, 1))
            self._metrics.shadows.labels("failed").inc()
            return
        if self._now is not one:
            return
        agreed = sum(row.text == theirs for row, theirs in zip(unseen.rows, one.texts, strict=True))
        self._watch.add(seen(one.version, CHALLENGER, unseen.rows, one.limit, agreed))
        self._judge(one, seen(one.version, CHALLENGER, unseen.rows[:1], one.limit))
        self._metrics.shadows.labels("answered").inc()

    def _judge(self, one: Shadowed, challenger: Observation) -> None:
        if one.ticket is not None:
            self._watch.judge(one.ticket, replace(one.champion, minute=challenger.minute), challenger)
