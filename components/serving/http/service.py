"""All parts of a running server, its health, and its background tasks. `components.serving.http.build` makes it.

Knows the parts; does not know HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from components.access.api_keys import ApiKeys
from components.access.latest_clock import LatestClock
from components.config import Params
from components.fine_tuning.uploads import Uploads
from components.registry.mlflow.versions import Version
from components.serving.background_engine import BackgroundEngine
from components.serving.errors import LOGGER_NAME, RefusalError, make_unavailable_error
from components.serving.fleet.artifact_cleanup import ArtifactCleanup
from components.serving.fleet.input_statistics import InputStatistics
from components.serving.fleet.metrics import MetricsPage, ServingMetrics
from components.serving.fleet.observation_buffer import ObservationBuffer
from components.serving.fleet.shadow import ShadowQueue
from components.serving.fleet.usage_buffer import UsageBuffer
from components.serving.fleet.versions import FleetVersions
from components.serving.http.answer_memory import AnswerMemory
from components.serving.http.answer_pace import AnswerPace
from components.serving.http.answer_sharing import AnswerSharing
from components.serving.http.auth import Authenticator
from components.serving.http.budget_gate import BudgetGate
from components.serving.http.feedback import FeedbackDesk
from components.serving.http.large_bodies import LargeBodies
from components.serving.http.quotas import Quotas
from components.serving.http.tuning_desk import TuningDesk
from components.serving.http.webhook import DeliveryMemory
from components.serving.interface import Engine
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database

_FLUSH_SECONDS = 5.0
_RESTART_SECONDS = 1.0
_MAX_CACHED_PARAMS = 100_000
"""Tenants."""


@dataclass(kw_only=True)
class Service:
    """The parts of one server, and what changes while it runs: requests in flight, draining."""

    params: Params
    database: Database
    keys: ApiKeys
    authenticator: Authenticator
    quotas: Quotas
    busy_pace: AnswerPace
    """Of the answers that the queue is full, by tenant."""
    large_bodies: LargeBodies
    get_tenant_params: Callable[[str], Params]
    """Tenant -> its parameters, with the sections that `tenants.<id>` overrides."""
    engine: BackgroundEngine
    fleet: FleetVersions
    artifact_cleanup: ArtifactCleanup
    observation_buffer: ObservationBuffer
    input_statistics: InputStatistics | None
    """None: inputs are not counted."""
    shadow_queue: ShadowQueue
    usage_buffer: UsageBuffer
    usage_pool: FairThreadPool
    """For reports of usage."""
    budget_gate: BudgetGate
    answer_memory: AnswerMemory
    answer_sharing: AnswerSharing
    feedback_desk: FeedbackDesk
    uploads: Uploads
    tuning_desk: TuningDesk
    fine_tuning_pool: FairThreadPool
    """For the disk and the database of the fine-tuning API."""
    upload_pool: FairThreadPool
    """For the checks of uploaded files, which take seconds."""
    metrics: ServingMetrics
    metrics_page: MetricsPage
    latest_clock: LatestClock
    """By which webhooks are too old."""
    webhook_secret: str
    """Secret of MLflow's webhook; "": webhooks are refused."""
    webhook_deliveries: DeliveryMemory
    started_s: float
    """Seconds since 1970."""
    draining: bool = False
    """Whether the server is shutting down and refuses new requests."""
    in_flight: int = 0
    """Requests of the API that are being answered."""
    load_error: Exception | None = None
    """Why the engine could not be loaded; None: it is loaded, or still being loaded."""

    def start_draining(self) -> None:
        """Refuse new requests from now on; those in flight finish."""
        self.draining = True

    @contextmanager
    def count_in_flight(self) -> Iterator[None]:
        """Count one request as in flight inside the block."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def get_ready_engine(self) -> Engine:
        """Return the engine.

        Raises:
            RefusalError: 503, the base is still being loaded, or the server is shutting down.
        """
        if self.draining:
            raise make_unavailable_error("an answer", "a server that is shutting down")
        engine = self.engine.engine
        if engine is None:
            raise make_unavailable_error("an answer", "a base that is still being loaded")
        if not engine.health().ready:
            raise make_unavailable_error("an answer", "an engine that does not answer")
        return engine

    def check_ready(self) -> None:
        """Raise RefusalError (503) if new requests would be refused."""
        self.get_ready_engine()
        if self.fleet.last_read_s is None:
            raise RefusalError(
                503, "the tenants' versions", "no answer from the registry", "start MLflow", code="unavailable"
            )

    def describe_health(self) -> dict[str, Any]:
        """Return the body of /healthz; it names no tenant, path or address."""
        engine, read_s = self.engine.health(), self.fleet.last_read_s
        troubles = {
            "registry": "registry" in self.fleet.read_errors,
            "rollout": "rollout" in self.fleet.read_errors,
            "usage": bool(self.usage_buffer.write_error),
            "observations": bool(self.observation_buffer.write_error)
            or bool(self.input_statistics and self.input_statistics.write_error),
            "quotas": bool(self.quotas.lease_error),
            "answers": bool(self.answer_sharing.write_error),
            "identity": bool(self.authenticator.tokens and self.authenticator.tokens.issuer.error),
            "store": bool(engine and engine.artifact_store_error),
            "versions": self._has_unusable_versions(),
        }
        return {
            "status": "draining" if self.draining else "degraded" if any(troubles.values()) else "ok",
            "ready": bool(engine and engine.ready) and read_s is not None and not self.draining,
            "troubles": [name for name, is_so in troubles.items() if is_so],
            "observations_dropped": self.observation_buffer.dropped,
            "aliases_age_seconds": None if read_s is None else round(time.monotonic() - read_s, 3),
            "requests_in_flight": self.in_flight,
            "rows_running": engine.running if engine else 0,
            "rows_queued": engine.queued if engine else 0,
            "resident_prefixes": engine.device_artifacts + engine.host_artifacts if engine else 0,
            "resident_bytes": engine.device_artifact_bytes if engine else 0,
        }

    def find_trouble(self, version: Version) -> str | None:
        """Return why a version cannot answer, in words that name no path; None: nothing is known against it."""
        if self.fleet.is_on_other_base(version):
            return "it is on another base, whose own server answers for it"
        if version.sha256 in self.engine.load_errors:
            return "its files are missing, damaged or of another base (the server's log has the details)"
        return version.fault or None

    def _has_unusable_versions(self) -> bool:
        snapshot, failed = self.fleet.snapshot, self.engine.load_errors
        aliased = (*snapshot.champions.values(), *snapshot.challengers.values()) if failed else ()
        return any(snapshot.unusable.values()) or any(version.sha256 in failed for version in aliased)

    def start_background_tasks(self) -> list[asyncio.Task[None]]:
        """Start loading the engine and the endless tasks beside the requests; cancel the tasks to end them."""
        follow_seconds = self.params.serve.follow_seconds
        endless: list[Callable[[], Awaitable[None]]] = [
            lambda: self.fleet.run_forever(follow_seconds),
            lambda: self.observation_buffer.run_forever(_FLUSH_SECONDS),
            *([partial(self.input_statistics.run_forever, _FLUSH_SECONDS)] if self.input_statistics else []),
            lambda: self.usage_buffer.run_forever(_FLUSH_SECONDS),
            self.quotas.run_forever,
            self.answer_sharing.run_forever,
            self.shadow_queue.run_forever,
            self.tuning_desk.run_forever,
            self.artifact_cleanup.run_forever,
            lambda: self.artifact_cleanup.retry_forever(follow_seconds),
        ]
        loading = asyncio.create_task(self._load_engine())
        return [loading, *(asyncio.create_task(_restart_on_error(work)) for work in endless)]

    async def _load_engine(self) -> None:
        try:
            await self.engine.load()
        except Exception as problem:  # noqa: BLE001 - raised again by the function that runs the server
            self.load_error = problem
            self.start_draining()


def make_tenant_params_reader(params: Params) -> Callable[[str], Params]:
    """Return a cached function from a tenant to its parameters.

    It logs one warning for each tenant whose answers may end before those of its evaluation.
    """

    @lru_cache(_MAX_CACHED_PARAMS)
    def get_tenant_params(tenant: str) -> Params:
        tenant_params = params.for_tenant(tenant)
        limit, judged = tenant_params.access.max_tokens, tenant_params.evaluate.max_new_tokens
        if limit < judged:
            message = "%s: answers end after access.max_tokens (%d), those of the evaluation after %d tokens"
            logging.getLogger(LOGGER_NAME).warning(message, tenant, limit, judged)
        return tenant_params

    return get_tenant_params


async def _restart_on_error(work: Callable[[], Awaitable[None]]) -> None:
    """Run an endless task; log whatever it raises and start it again."""
    while True:
        try:
            await work()
        except Exception:
            logging.getLogger(LOGGER_NAME).exception("a background task failed and is started again")
        await asyncio.sleep(_RESTART_SECONDS)
