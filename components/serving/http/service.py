"""Everything that a running server holds, in one place, and what of it answers whether it is well. Knows no HTTP."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from components.config import Params
from components.registry.mlflow.versions import CHALLENGER, CHAMPION
from components.rollout.store.database import Database
from components.rollout.store.tenant_state import exposures
from components.serving.errors import LOGGER, RefusalError, unavailable
from components.serving.fleet.metrics import Metrics
from components.serving.fleet.observation_buffer import Watch
from components.serving.fleet.shadow import Shadows
from components.serving.fleet.versions import Fleet
from components.serving.http.answer_memory import Memory
from components.serving.http.api_keys import Keys
from components.serving.http.auth import Door
from components.serving.http.prompts import undone
from components.serving.http.quotas import Quotas
from components.serving.http.webhook import SECRET_VARIABLE
from components.serving.interface import Engine
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.serving.fleet.artifact_cleanup import Tending

_WRITE_SECONDS = 5.0
_RESTART_SECONDS = 1.0


class Service:
    """The parts, joined; the engine comes when the base is loaded."""

    def __init__(self, workspace: Workspace, params: Params, database: Database, *, is_open: bool) -> None:
        """`params` are the workspace's with what the command line changed; `is_open` lets everybody in without keys."""
        self.params, self.database = params, database
        self.keys = Keys(database, time.time, fresh_seconds=params.serve.keys_seconds)
        self.door = Door(self.keys, is_open=is_open)
        registry = workspace.registry
        self.fleet = Fleet(
            lambda: registry.standing(CHAMPION, CHALLENGER), registry.versions, lambda: exposures(database)
        )
        self.engine: Engine | None = None
        self.tending: Tending | None = None
        self.base_digest = ""
        self.watch = Watch(database)
        self.metrics = Metrics(self.fleet, lambda: self.engine.health() if self.engine else None, self.watch)
        self.shadows = Shadows(lambda: self.engine, self.watch, self.metrics, params.serve.shadow_queue)
        self.memory = Memory(params.serve.remembered_answers)
        self.fleet.on_gone = self._forget
        self.of_tenant = lru_cache(maxsize=100_000)(self._of_tenant)
        self.quotas = Quotas(lambda tenant: self.of_tenant(tenant).access, time.monotonic)
        self.webhook_secret = os.environ.get(SECRET_VARIABLE, "")
        self.started_s = time.time()
        self.draining = False
        self.in_flight = 0

    def _forget(self, tenant: str) -> None:
        for part in (self.memory, self.shadows, self.watch, self.metrics):
            part.forget(tenant)

    def _of_tenant(self, tenant: str) -> Params:
        params = self.params.for_tenant(tenant)
        if names := undone(params):
            told = "%s: evaluate asks for %s, which serving does not do: answers may differ from those that were judged"
            logging.getLogger(LOGGER).warning(told, tenant, ", ".join(names))
        return params

    def ready_engine(self) -> Engine:
        """The engine.

        Raises:
            RefusalError: 503, the base is not loaded yet, or the server is about to end.
        """
        if self.draining:
            raise unavailable("an answer", "a server that is about to end")
        if self.engine is None or not self.engine.health().ready:
            raise unavailable("an answer", "a base that is still being loaded")
        return self.engine

    def check_ready(self) -> None:
        """Refuse while new requests would not be answered. Raises RefusalError: 503."""
        self.ready_engine()
        if self.fleet.read_s is None:
            raise RefusalError(
                503, "the tenants' versions", "no registry that answers", "start MLflow", code="unavailable"
            )

    def health(self) -> dict[str, Any]:
        """How it is, without a name of a tenant, a path or an address."""
        engine, read_s = self.engine.health() if self.engine else None, self.fleet.read_s
        troubles = {
            "registry": "registry" in self.fleet.trouble,
            "rollout": "rollout" in self.fleet.trouble,
            "observations": bool(self.watch.trouble),
            "store": bool(engine and engine.trouble),
        }
        return {
            "status": "draining" if self.draining else "degraded" if any(troubles.values()) else "ok",
            "ready": bool(engine and engine.ready) and read_s is not None and not self.draining,
            "troubles": [what for what, is_so in troubles.items() if is_so],
            "observations_dropped": self.watch.dropped,
            "aliases_age_seconds": None if read_s is None else round(time.monotonic() - read_s, 3),
            "requests_in_flight": self.in_flight,
            "rows_running": engine.running if engine else 0,
            "rows_queued": engine.queued if engine else 0,
            "resident_prefixes": engine.resident_device + engine.resident_host if engine else 0,
            "resident_bytes": engine.resident_bytes if engine else 0,
        }

    def background(self) -> list[asyncio.Task[None]]:
        """Start what goes on beside the requests; cancel the tasks to end it."""
        return [
            asyncio.create_task(_again(lambda: self.fleet.follow(self.params.serve.follow_seconds))),
            asyncio.create_task(_again(lambda: self.watch.follow(_WRITE_SECONDS))),
            asyncio.create_task(_again(self.shadows.follow)),
            asyncio.create_task(_again(self._tend)),
            asyncio.create_task(_again(self._retry)),
        ]

    async def _tend(self) -> None:
        if self.tending is not None:
            await self.tending.follow()

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(self.params.serve.follow_seconds)
            if self.tending is not None:
                await self.tending.retry()


async def _again(work: Callable[[], Awaitable[None]]) -> None:
    """Keep it going: what goes on in the background must not end unseen by a fault."""
    while True:
        try:
            await work()
        except Exception:
            logging.getLogger(LOGGER).exception("a fault in the background; it goes on")
        await asyncio.sleep(_RESTART_SECONDS)
