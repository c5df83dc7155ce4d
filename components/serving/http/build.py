"""Build a server: the registry, the database, the engine and everything between them and HTTP.

Every part gets all it needs in its constructor. Knows every part of serving and the workspace; does not know uvicorn.
"""

import os
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from components.access.api_keys import ApiKeys
from components.access.latest_clock import LatestClock
from components.access.tls import read_certificate_end
from components.config import Params
from components.fine_tuning.notices import make_notices
from components.fine_tuning.supervisor import JobSupervisor
from components.fine_tuning.uploads import Uploads
from components.registry.mlflow.versions import CHALLENGER, CHAMPION
from components.rollout.store.quota_leases import QuotaLeases
from components.rollout.store.tenant_state import read_exposures
from components.serving.background_engine import BackgroundEngine
from components.serving.fleet.artifact_cleanup import ArtifactCleanup
from components.serving.fleet.input_statistics import InputStatistics
from components.serving.fleet.metrics import MetricsPage, ServingMetrics
from components.serving.fleet.observation_buffer import ObservationBuffer
from components.serving.fleet.shadow import ShadowQueue
from components.serving.fleet.usage_buffer import UsageBuffer
from components.serving.fleet.version_lookup import VersionLookup
from components.serving.fleet.versions import FleetVersions
from components.serving.http.answer_memory import AnswerMemory
from components.serving.http.answer_pace import AnswerPace
from components.serving.http.answer_sharing import AnswerSharing
from components.serving.http.auth import Authenticator
from components.serving.http.budget_gate import BudgetGate
from components.serving.http.feedback import FeedbackDesk
from components.serving.http.large_bodies import LargeBodies
from components.serving.http.quotas import Quotas
from components.serving.http.service import Service, make_tenant_params_reader
from components.serving.http.tuning_desk import TuningDesk
from components.serving.http.webhook import SECRET_VARIABLE, DeliveryMemory
from components.serving.interface import Engine
from components.serving.load_engine import load_engine
from components.serving.thread_pool import FairThreadPool
from components.stages.workspace import Workspace
from components.storage.database import Database

if TYPE_CHECKING:
    from components.access.oidc.tokens import BearerTokens

_MIB = 1 << 20
_BUSY_PER_SECOND, _BUSY_MAX_SECONDS = 4.0, 4.0
"""Pace of the answers that the queue is full, to one tenant: a client that asks again at once then costs little."""


def build_service(
    workspace: Workspace,
    params: Params,
    database: Database,
    *,
    allows_anonymous: bool,
    load: Callable[[], Engine] | None = None,
) -> Service:
    """Build the parts of a server; nothing runs and no base is loaded yet.

    `params` are the workspace's with the command line's overrides. With `allows_anonymous` no key is needed until the
    first one is made. `load` returns the running engine; None: the workspace's base on this machine.

    Raises:
        ConfigError: serve.tuning_webhook is no address, or the environment has no key for it; or the file of the TLS
            certificate cannot be read.
        RegistryError: MLflow's address cannot be used.
        WorkspaceError: the database does not answer.
    """
    config, registry = params.serve, workspace.registry
    engine = BackgroundEngine(load or (lambda: load_engine(workspace, config)))
    keys = ApiKeys(database, time.time, fresh_seconds=config.keys_seconds)
    tokens = _open_tokens(params)
    get_tenant_params = make_tenant_params_reader(params)
    metrics = ServingMetrics()
    observation_buffer = ObservationBuffer(database)
    usage_buffer = UsageBuffer(database, engine.take_device_seconds)
    budget_gate = BudgetGate(database, get_tenant_params, time.monotonic)
    input_statistics = InputStatistics(database) if params.triggers.drift else None
    shadow_queue = ShadowQueue(engine, observation_buffer, metrics, config.shadow_queue)
    answer_sharing = AnswerSharing(database, config.shared_answer_seconds)
    answer_memory = AnswerMemory(config.remembered_answers, config.remembered_mb * _MIB, on_drop=answer_sharing.drop)
    quotas = Quotas(
        lambda tenant: get_tenant_params(tenant).access,
        time.monotonic,
        QuotaLeases(database, secrets.token_hex(8)),
        has_limits=_has_limits(params),
    )
    artifact_cleanup = ArtifactCleanup(engine, registry.find_sha256s)

    always = (answer_memory, quotas, shadow_queue, observation_buffer, metrics, usage_buffer, budget_gate)

    def forget(tenant: str) -> None:
        for part in (*always, input_statistics):
            if part is not None:
                part.forget(tenant)

    fleet = FleetVersions(
        lambda: registry.poll_aliased(CHAMPION, CHALLENGER),
        VersionLookup(registry.find_versions),
        lambda: read_exposures(database),
        preload=engine.preload,
        on_read=artifact_cleanup.notify,
        on_tenant_removed=forget,
        get_base_digest=lambda: loaded.base_digest if (loaded := engine.engine) else "",
        interchangeable=params.base.interchangeable,
    )

    def find_troubles() -> dict[str, bool]:
        return {
            "inputs": bool(input_statistics and input_statistics.write_error),
            "quotas": bool(quotas.lease_error),
            "answers": bool(answer_sharing.write_error),
            "identity": bool(tokens and tokens.issuer.error),
        }

    uploads = Uploads(workspace.root, database, params.data)
    notices = make_notices(database, config.tuning_webhook, os.environ)
    pool = FairThreadPool("fine-tuning", 2, tenant_threads=1, max_calls=256, max_tenant_calls=32)
    desk = TuningDesk(
        JobSupervisor(workspace, database, uploads, notices=notices),
        database,
        pool,
        fleet,
        workspace.root / "data",
        lambda: {params.base.path, *([loaded.base_name] if (loaded := engine.engine) else [])},
    )
    return Service(
        params=params,
        database=database,
        keys=keys,
        authenticator=Authenticator(keys, allows_anonymous=allows_anonymous, tokens=tokens),
        quotas=quotas,
        busy_pace=AnswerPace(
            time.monotonic, per_second=_BUSY_PER_SECOND, burst_seconds=0.0, max_seconds=_BUSY_MAX_SECONDS
        ),
        large_bodies=LargeBodies(time.monotonic, config.max_body_values),
        get_tenant_params=get_tenant_params,
        engine=engine,
        fleet=fleet,
        artifact_cleanup=artifact_cleanup,
        observation_buffer=observation_buffer,
        input_statistics=input_statistics,
        shadow_queue=shadow_queue,
        usage_buffer=usage_buffer,
        usage_pool=FairThreadPool("reports of usage", tenant_threads=1, max_calls=32, max_tenant_calls=8),
        budget_gate=budget_gate,
        answer_memory=answer_memory,
        answer_sharing=answer_sharing,
        feedback_desk=FeedbackDesk(database, answer_memory, answer_sharing, quotas, get_tenant_params),
        uploads=uploads,
        tuning_desk=desk,
        fine_tuning_pool=pool,
        upload_pool=FairThreadPool("uploads", 2, tenant_threads=1, max_calls=32, max_tenant_calls=4),
        metrics=metrics,
        metrics_page=MetricsPage(
            metrics, fleet, engine, observation_buffer, find_troubles, read_certificate_end(config)
        ),
        latest_clock=LatestClock(time.time, time.monotonic),
        webhook_secret=os.environ.get(SECRET_VARIABLE, ""),
        webhook_deliveries=DeliveryMemory(time.monotonic),
        started_s=time.time(),
    )


def _open_tokens(params: Params) -> "BearerTokens | None":
    if params.oidc is None or params.oidc.audience is None:
        return None
    from components.access.oidc.tokens import open_bearer_tokens

    return open_bearer_tokens(params.oidc)


def _has_limits(params: Params) -> bool:
    """Return whether any tenant may have a quota."""
    access = params.access
    limits = (access.requests_per_minute, access.tokens_per_minute)
    return any(limits) or any("access" in override for override in params.tenants.values())
