"""What the parent reads in the exchange about its shards: requests, signs of life and outcomes; tells the log of them.

Does not know Prefect, and decides nothing.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from components.stages.progress import StageProgress, join_abbreviated, log_info, report_progress
from components.stages.run_log import WorkerSpan
from components.stages.sharding.exchange_sets import locate_shard
from components.stages.sharding.messages import HEARTBEAT, OUTCOMES, Heartbeat, ShardOutcomes
from components.stages.sharding.request import REQUEST, ShardRequest
from components.stages.sharding.sent_shard import SentShard
from components.stages.sharding.shard_work import ShardWork
from components.storage.exchange import Exchange

_TELL_S = 60.0
"""Seconds between two lines of the log about one shard at work."""
_Message = TypeVar("_Message", bound=BaseModel)


class ShardObserver:
    """Reads the shards' folders."""

    def __init__(self, exchange: Exchange, work: ShardWork, clock: Callable[[], float] = time.time) -> None:
        """Read nothing yet. `clock` gives seconds since 1970."""
        self._exchange, self._work, self._clock = exchange, work, clock
        self.workers: dict[str, str] = {}
        """Tenant -> the worker that trained or evaluated it."""
        self.spans: dict[str, WorkerSpan] = {}
        """Tenant -> when a worker had its shard; of a shard that went on elsewhere, the last."""

    def read_request(self, shard_id: str) -> ShardRequest | None:
        """Return the request of a shard; None if there is none that this code can read."""
        return self._read(shard_id, REQUEST, ShardRequest)

    def read_outcomes(self, shard: SentShard) -> ShardOutcomes | None:
        """Return how a shard ended; None if it has not."""
        ended = self._read(shard.request.shard_id, OUTCOMES, ShardOutcomes)
        if ended is not None:
            trained = [one.tenant for one in ended.outcomes if one.stage == "train" and one.state == "done"]
            log_info(f"{shard.run_name}: {ended.worker} trained {join_abbreviated(trained) or 'nothing'}")
            self.workers.update(dict.fromkeys(shard.plan.tenants, ended.worker))
            self._note_span(shard, ended.worker, ended.device)
        return ended

    def observe_worker(self, shard: SentShard, now_s: float) -> None:
        """Take the last heartbeat of the shard's worker, and tell what it does."""
        before = shard.heartbeat.steps if shard.heartbeat else {}
        heartbeat = self._read(shard.request.shard_id, HEARTBEAT, Heartbeat)
        if heartbeat is None:
            return
        if shard.observe_heartbeat(heartbeat, now_s):
            log_info(f"{shard.run_name}: taken by {heartbeat.worker} ({heartbeat.device})")
            self.workers.update(dict.fromkeys(shard.plan.tenants, heartbeat.worker))
            self._note_span(shard, heartbeat.worker, heartbeat.device)
            shard.told_s = now_s
        for tenant, step in heartbeat.steps.items():
            if before.get(tenant) != step and tenant in self._work.items:
                total = self._work.items[tenant].train.max_steps
                report_progress(StageProgress("training", tenant, step, total, f"on {heartbeat.worker}"))
        if now_s - shard.told_s > _TELL_S:
            shard.told_s = now_s
            steps = join_abbreviated([f"{tenant} at step {step}" for tenant, step in heartbeat.steps.items()])
            log_info(f"{shard.run_name}: {heartbeat.worker}: {heartbeat.activity}{steps and ', '}{steps}")

    def _note_span(self, shard: SentShard, worker: str, device: str) -> None:
        now_s = self._clock()
        for tenant in shard.plan.tenants:
            span = WorkerSpan(shard.request.shard_id, worker, device, now_s, now_s)
            known = self.spans.get(tenant, span)
            is_same = (known.shard, known.worker) == (span.shard, worker)
            self.spans[tenant] = replace(known, ended_s=now_s) if is_same else span

    def _read(self, shard_id: str, name: str, kind: type[_Message]) -> _Message | None:
        """Return a message in a shard's folder; None if there is none that can be read."""
        values = self._exchange.open(*locate_shard(shard_id)).get_json(name)
        try:
            return None if values is None else kind.model_validate(values)
        except ValidationError:
            return None
