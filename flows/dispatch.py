"""The parent's side of a training on workers: what is missing is told first, then shards are sent and watched.

Holds no device and loads no model. Does not know how shards are watched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import httpx

from components.config import WorkersConfig
from components.errors import WorkersError
from components.registry.mlflow.versions import Version
from components.stages.outcome import TenantOutcome
from components.stages.plan import Plan
from components.stages.progress import log_warning
from components.stages.run_log import WorkerSpan
from components.stages.sharding import transfer
from components.stages.sharding.code_version import read_code_version
from components.stages.sharding.cost import RATES_FILE, TrainingRates
from components.stages.sharding.preflight import Problem, find_problems, make_error
from components.stages.sharding.request_building import RequestBuilder
from components.stages.sharding.settling import Settling
from components.stages.sharding.shard_work import ShardWork
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore
from components.storage.urls import format_first_line
from flows.local_server import ADDRESS_VARIABLE
from flows.run_local import find_named_server
from flows.shard_dispatcher import ShardDispatcher
from flows.worker_deadline import NoWorkerError
from flows.worker_pool import WorkerPool

RESOURCE_CLASS: Literal["gpu"] = "gpu"
"""The resource class whose pool trains shards."""


@dataclass
class DispatchResult:
    """What became of a run's tenants."""

    outcomes: list[TenantOutcome]
    """Of training and evaluation, except for the tenants in `remaining`."""
    workers: dict[str, str] = field(default_factory=dict)
    """Tenant -> the worker that trained or evaluated it."""
    spans: dict[str, WorkerSpan] = field(default_factory=dict)
    """Tenant -> when a worker had its shard."""
    remaining: list[str] = field(default_factory=list)
    """Tenants that must be trained and evaluated here, because no worker took them."""


def train_on_workers(
    workspace: Workspace, planned: Plan, config: WorkersConfig, champions: Mapping[str, Version]
) -> DispatchResult:
    """Train what the plan names, and evaluate what has no present scores, on the workers of a pool.

    `champions` (tenant -> champion on the plan's base) are evaluated too where they have no present scores.

    Raises:
        WorkersError: what workers need is missing (the error lists all of it), no worker comes in time, or the server
            or the exchange does not answer.
    """
    workspace.release_base()  # a first plan loads it to describe it
    rates = TrainingRates(workspace.root / "var" / RATES_FILE)
    work = ShardWork(workspace, planned, champions, rates)
    if not work.open_tenants:
        return DispatchResult(work.outcomes)
    code_version, identity = read_code_version(), workspace.registry.ownership.identity
    pool = WorkerPool(config.pools[RESOURCE_CLASS], code_version, identity.id)
    try:
        store = ObjectStore(config.exchange)
        if problems := [*_find_prefect_problems(pool), *find_problems(workspace, store, config)]:
            raise make_error(problems)
    except WorkersError as problem:
        return _fall_back(work, config, problem, DispatchResult(work.outcomes))
    transfer.send_data(workspace)
    exchange = Exchange(store)
    builder = RequestBuilder(workspace, planned.base, champions)
    settling = Settling(workspace, exchange, builder, work, dict(champions))
    dispatcher = ShardDispatcher(workspace, config, exchange, pool, builder, work, settling, rates)
    try:
        dispatcher.run()
    except NoWorkerError as problem:
        for tenant in work.open_tenants:
            transfer.place_state(workspace, exchange, tenant, builder.make_run_key(work.items[tenant]))
        return _fall_back(work, config, problem, DispatchResult(work.outcomes, dispatcher.workers, dispatcher.spans))
    _remove_unused(exchange, config)
    return DispatchResult(work.outcomes, dispatcher.workers, dispatcher.spans)


def _find_prefect_problems(pool: WorkerPool) -> list[Problem]:
    if find_named_server() is None:
        fix = f"start a Prefect server (`prefect server start`), and set {ADDRESS_VARIABLE} here and on the workers"
        return [Problem(f"no {ADDRESS_VARIABLE}: the server of this command is not reachable for workers", fix)]
    try:
        problem = pool.find_problem()
    except httpx.HTTPError as error:
        return [Problem(f"a Prefect server that does not answer: {format_first_line(error)}", "start it")]
    return [problem] if problem else []


def _fall_back(work: ShardWork, config: WorkersConfig, problem: WorkersError, so_far: DispatchResult) -> DispatchResult:
    """Leave the open tenants to this machine, if `fallback` says so; else end the run, or the open tenants alone."""
    if config.fallback == "here":
        log_warning(f"training here, as workers.fallback says: {problem}")
        return replace(so_far, remaining=work.open_tenants)
    if not so_far.workers:
        raise problem
    for tenant in work.open_tenants:
        work.fail(tenant, problem)
    return so_far


def _remove_unused(exchange: Exchange, config: WorkersConfig) -> None:
    try:
        exchange.remove_unused(config.keep_days)
    except WorkersError as problem:
        log_warning(f"files of ended runs stay in the exchange: {problem}")
