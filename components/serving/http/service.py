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
from components.rollout.store.tenant_state import read_exposures
from components.serving.errors import LOGGER_NAME, RefusalError, make_unavailable_error
from components.serving.fleet.metrics import ServingMetrics
from components.serving.fleet.observation_buffer import ObservationBuffer
from components.serving.fleet.shadow import ShadowQueue
from components.serving.fleet.versions import FleetVersions
from components.serving.http.answer_memory import AnswerMemory
from components.serving.http.api_keys import ApiKeys
from components.serving.http.auth import Authenticator
from components.serving.http.prompts import find_unsupported_settings
from components.serving.http.quotas import Quotas
from components.serving.http.webhook import SECRET_VARIABLE
from components.serving.interface import Engine
from components.stages.workspace import Workspace
from components.storage.database import Database

if TYPE_CHECKING:
    from components.serving.fleet.artifact_cleanup import ArtifactCleanup

_FLUSH_SECONDS = 5.0
_RESTART_SECONDS = 1.0


class Service:
    """The parts, joined; the engine comes when the base is loaded."""

    def __init__(self, workspace: Workspace, params: Params, database: Database, *, allows_anonymous: bool) -> None:
        """`params` are the workspace's with what the command line changed.

        `allows_anonymous` lets everybody in without keys.
        """
        self.params, self.database = params, database
        self.keys = ApiKeys(database, time.time, fresh_seconds=params.serve.keys_seconds)
        self.authenticator = Authenticator(self.keys, allows_anonymous=allows_anonymous)
        registry = workspace.registry
        self.fleet = FleetVersions(
            lambda: registry.poll_aliased(CHAMPION, CHALLENGER),
            registry.find_versions,
            lambda: read_exposures(database),
        )
        self.engine: Engine | None = None
        self.artifact_cleanup: ArtifactCleanup | None = None
        self.base_digest = ""
        self.observation_buffer = ObservationBuffer(database)
        self.metrics = ServingMetrics(
            self.fleet, lambda: self.engine.health() if self.engine else None, self.observation_buffer
        )
        self.shadow_queue = ShadowQueue(
            lambda: self.engine, self.observation_buffer, self.metrics, params.serve.shadow_queue
        )
        self.answer_memory = AnswerMemory(params.serve.remembered_answers)
        self.fleet.on_tenant_removed = self._forget
        self.find_tenant_params = lru_cache(maxsize=100_000)(self._find_tenant_params)
        self.quotas = Quotas(lambda tenant: self.find_tenant_params(tenant).access, time.monotonic)
        self.webhook_secret = os.environ.get(SECRET_VARIABLE, "")
        self.started_s = time.time()
        self.draining = False
        self.in_flight = 0

    def _forget(self, tenant: str) -> None:
        for part in (self.answer_memory, self.shadow_queue, self.observation_buffer, self.metrics):
            part.forget(tenant)

    def _find_tenant_params(self, tenant: str) -> Params:
        params = self.params.for_tenant(tenant)
        if names := find_unsupported_settings(params):
            told = "%s: evaluate asks for %s, which serving does not do: answers may differ from those that were judged"
            logging.getLogger(LOGGER_NAME).warning(told, tenant, ", ".join(names))
        return params

    def get_ready_engine(self) -> Engine:
        """The engine.

        Raises:
            RefusalError: 503, the base is not loaded yet, or the server is about to end.
        """
        if self.draining:
            raise make_unavailable_error("an answer", "a server that is about to end")
        if self.engine is None or not self.engine.health().ready:
            raise make_unavailable_error("an answer", "a base that is still being loaded")
        return self.engine

    def check_ready(self) -> None:
        """Refuse while new requests would not be answered. Raises RefusalError: 503."""
        self.get_ready_engine()
        if self.fleet.last_read_s is None:
            raise RefusalError(
                503, "the tenants' versions", "no registry that answers", "start MLflow", code="unavailable"
            )

    def describe_health(self) -> dict[str, Any]:
        """How it is, without a name of a tenant, a path or an address."""
        engine, read_s = self.engine.health() if self.engine else None, self.fleet.last_read_s
        troubles = {
            "registry": "registry" in self.fleet.read_errors,
            "rollout": "rollout" in self.fleet.read_errors,
            "observations": bool(self.observation_buffer.write_error),
            "store": bool(engine and engine.artifact_store_error),
        }
        return {
            "status": "draining" if self.draining else "degraded" if any(troubles.values()) else "ok",
            "ready": bool(engine and engine.ready) and read_s is not None and not self.draining,
            "troubles": [what for what, is_so in troubles.items() if is_so],
            "observations_dropped": self.observation_buffer.dropped,
            "aliases_age_seconds": None if read_s is None else round(time.monotonic() - read_s, 3),
            "requests_in_flight": self.in_flight,
            "rows_running": engine.running if engine else 0,
            "rows_queued": engine.queued if engine else 0,
            "resident_prefixes": engine.device_artifacts + engine.host_artifacts if engine else 0,
            "resident_bytes": engine.device_artifact_bytes if engine else 0,
        }

    def start_background_tasks(self) -> list[asyncio.Task[None]]:
        """Start what goes on beside the requests; cancel the tasks to end it."""
        return [
            asyncio.create_task(_restart_on_error(lambda: self.fleet.run_forever(self.params.serve.follow_seconds))),
            asyncio.create_task(_restart_on_error(lambda: self.observation_buffer.run_forever(_FLUSH_SECONDS))),
            asyncio.create_task(_restart_on_error(self.shadow_queue.run_forever)),
            asyncio.create_task(_restart_on_error(self._run_artifact_cleanup)),
            asyncio.create_task(_restart_on_error(self._retry_failed_fetches)),
        ]

    async def _run_artifact_cleanup(self) -> None:
        if self.artifact_cleanup is not None:
            await self.artifact_cleanup.run_forever()

    async def _retry_failed_fetches(self) -> None:
        while True:
            await asyncio.sleep(self.params.serve.follow_seconds)
            if self.artifact_cleanup is not None:
                await self.artifact_cleanup.retry_failed_fetch()


async def _restart_on_error(work: Callable[[], Awaitable[None]]) -> None:
    """Keep it going: what goes on in the background must not end unseen by a fault."""
    while True:
        try:
            await work()
        except Exception:
            logging.getLogger(LOGGER_NAME).exception("a fault in the background; it goes on")
        await asyncio.sleep(_RESTART_SECONDS)
