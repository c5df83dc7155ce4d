"""Sends shards to a work pool and watches them until every tenant is done, has failed or is given up.

A shard whose worker is lost goes to another worker, which goes on from the last state in the exchange. Only order and
limits are here: components/stages/sharding decides what is sent, divided and placed; `worker_pool` asks Prefect.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

import httpx

from components.config import WorkersConfig
from components.errors import WorkersError
from components.otel.spans import start_span
from components.stages.progress import join_abbreviated, log_info, log_warning
from components.stages.run_log import WorkerSpan
from components.stages.sharding import transfer
from components.stages.sharding.cost import TrainingRates
from components.stages.sharding.exchange_sets import make_evaluated_set
from components.stages.sharding.messages import ShardOutcomes
from components.stages.sharding.observing import ShardObserver
from components.stages.sharding.request_building import RequestBuilder
from components.stages.sharding.sent_shard import ObservedClock, SentShard
from components.stages.sharding.settling import Settling
from components.stages.sharding.shard_work import ShardWork
from components.stages.sharding.splitting import GivenUp, ShardPlan, divide_after_loss
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange
from flows.server_patience import ServerPatience
from flows.worker_deadline import WorkerDeadline
from flows.worker_pool import OpenRun, WorkerPool

_POLL_S = 1.0


class ShardDispatcher:
    """The shards of one run."""

    def __init__(
        self,
        workspace: Workspace,
        config: WorkersConfig,
        exchange: Exchange,
        pool: WorkerPool,
        builder: RequestBuilder,
        work: ShardWork,
        settling: Settling,
        rates: TrainingRates,
        *,
        read_monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Send nothing yet."""
        self._workspace, self._config, self._exchange, self._pool = workspace, config, exchange, pool
        self._builder, self._work, self._settling, self._rates = builder, work, settling, rates
        self._queue: deque[tuple[str, ShardPlan]] = deque()
        """Shard id and tenants of what waits for room."""
        self._sent: dict[str, SentShard] = {}
        """Id of the run -> shard."""
        self._clock, self._server, self._sleep = ObservedClock(read_monotonic), ServerPatience(), sleep
        self._deadline = WorkerDeadline(pool, self._server, config.start_minutes)
        self._observer = ShardObserver(exchange, work)

    @property
    def workers(self) -> dict[str, str]:
        """Tenant -> the worker that trained or evaluated it."""
        return self._observer.workers

    @property
    def spans(self) -> dict[str, WorkerSpan]:
        """Tenant -> when a worker had its shard."""
        return self._observer.spans

    def run(self) -> None:
        """Return when no tenant is open. Cancels the shards if it is interrupted or fails.

        Raises:
            NoWorkerError: no worker took a shard in time; what waited is cancelled.
            WorkersError: Prefect's server or the exchange does not answer.
        """
        try:
            self._server.insist(self._pool.ensure_deployment)
            self._adopt()
            self._settling.take_existing(self._work.list_ready())
            while True:
                self._enqueue(self._work.split_ready(self._config))
                self._send()
                if not self._sent and not self._queue:
                    return
                self._watch()
                self._sleep(_POLL_S)
        except BaseException:
            with suppress(httpx.HTTPError, WorkersError):
                self._pool.cancel(list(self._sent), reason="the run that sent it has ended")
            for shard in self._sent.values():
                shard.span.fail()
                shard.span.end()
            raise

    def _adopt(self) -> None:
        """Take over the shards that a parent which was killed has sent; cancel those of another plan."""
        others: list[str] = []
        for run in self._server.insist(self._pool.find_open):
            shard = self._make_adopted(run)
            if shard is None:
                log_info(f"cancelling {run.name}: it is of another plan")
                others.append(run.run_id)
                continue
            log_info(f"{run.name} is at work already, sent by an earlier run")
            self._work.assign(shard.plan.tenants)
            self._sent[run.run_id] = shard
        if others:
            self._server.insist(lambda: self._pool.cancel(others, reason="of another plan"))

    def _make_adopted(self, run: OpenRun) -> SentShard | None:
        request = self._observer.read_request(run.shard_id) if run.shard_id else None
        if request is None or request.code_version != self._builder.code_version:
            return None
        ready = [tenant for tenant in self._work.list_ready() if tenant in request.fingerprints]
        if not ready:
            return None
        now = self._builder.build([self._work.items[tenant] for tenant in ready], run.shard_id)
        same = tuple(
            tenant
            for tenant in ready
            if now.run_keys[tenant] == request.run_keys[tenant]
            and make_evaluated_set(now, tenant) == make_evaluated_set(request, tenant)
        )
        if not same:
            return None
        span = start_span("adopt shard", shard=run.shard_id, tenants=len(same))
        return SentShard(ShardPlan(same), request, run.run_id, run.name, self._clock.advance(), span=span)

    def _enqueue(self, plans: Iterable[ShardPlan]) -> None:
        self._queue.extend((secrets.token_hex(8), plan) for plan in plans)

    def _send(self) -> None:
        while self._queue and len(self._sent) < self._config.max_shards:
            shard_id, plan = self._queue[0]
            items = [self._work.items[tenant] for tenant in plan.tenants]
            span = start_span("send shard", kind="producer", shard=shard_id, tenants=len(items))
            request = self._builder.build(items, shard_id, span.headers)
            transfer.send_base(self._workspace, self._exchange, request)
            transfer.send_shard(self._workspace, self._exchange, request, items)
            title = f"shard of {join_abbreviated(plan.tenants)}"
            run_id = self._server.ask(lambda: self._pool.send(shard_id, self._config.exchange, title))  # noqa: B023
            if run_id is None:
                return
            self._queue.popleft()
            log_info(f"{title}: sent to work pool {self._pool.name}")
            self._sent[run_id] = SentShard(plan, request, run_id, title, self._clock.advance(), span=span)

    def _watch(self) -> None:
        """Look once at all shards, and settle those that ended."""
        now_s = self._clock.advance()
        states = self._server.ask(lambda: self._pool.read_states(list(self._sent)))
        for run_id, shard in list(self._sent.items()):
            if states is not None:
                shard.observe_phase(states[run_id].phase, now_s)
            if shard.is_taken or states is None:
                self._observer.observe_worker(shard, now_s)
            self._settle_if_ended(shard, states[run_id].message if states else "")
        self._deadline.check(self._sent.values(), now_s)

    def _settle_if_ended(self, shard: SentShard, message: str) -> None:
        lost_s, start_s = self._config.lost_seconds, self._config.start_minutes * 60
        worker = shard.worker or "its worker"
        ended = self._observer.read_outcomes(shard) if shard.is_taken else None
        if ended is not None:
            self._finish(shard, ended)
        elif shard.phase == "refused":
            self._refuse(shard, message)
        elif shard.phase == "cancelled":
            self._give_up(shard, _make_cancelled_error(message))
        elif shard.is_stopped:
            self._drop_run(shard, f"{worker} was stopped")
            self._lose(shard, f"{worker} was stopped", counts=False)
        elif shard.phase == "ended":
            self._lose(shard, f"{worker} ended: {message}")
        elif shard.is_lost(self._clock.now_s, lost_s, start_s):
            reason = f"no sign of life of {worker} for {lost_s:.0f} s"
            self._drop_run(shard, reason)
            if shard.phase == "cancelling":
                self._give_up(shard, _make_cancelled_error(reason))
            else:
                self._lose(shard, reason)

    def _finish(self, shard: SentShard, ended: ShardOutcomes) -> None:
        if shard.trains_since_s is not None:
            operations = sum(self._work.operations[tenant] for tenant in shard.plan.tenants)
            self._rates.record(ended.device, operations, self._clock.now_s - shard.trains_since_s)
        self._settling.take_ended(shard.request, ended.outcomes)
        if self._list_open(shard):
            self._lose(shard, "files of some of its tenants are not usable")
        else:
            self._forget(shard)

    def _lose(self, shard: SentShard, reason: str, *, counts: bool = True) -> None:
        """Send what is left of a shard to other workers, or give its tenant up."""
        remaining = self._take_remaining(shard)
        if not remaining:
            return
        plan = ShardPlan(remaining, shard.plan.losses, shard.plan.divisions)
        log_warning(f"{shard.run_name}: {reason}; {join_abbreviated(remaining)} unfinished")
        for part in divide_after_loss(plan, self._config.tries) if counts else [plan]:
            if isinstance(part, GivenUp):
                got = f"{self._config.tries} workers that ended while they had only this tenant; the last: {reason}"
                fix = "give workers more memory, or lower train.batch_size or engine.train_tokens; then run again"
                self._work.fail(part.tenant, WorkersError(f"a worker that trains {part.tenant}", got, fix))
            else:
                self._enqueue([part])

    def _refuse(self, shard: SentShard, message: str) -> None:
        """Try a shard that its worker refused as a whole again; end its tenants after some tries."""
        log_warning(f"{shard.run_name}: refused by {shard.worker or 'its worker'}: {message}")
        if shard.plan.losses + 1 >= self._config.tries:
            self._give_up(
                shard, WorkersError("a worker that can train the shard", message, "solve this, and run again")
            )
        elif remaining := self._take_remaining(shard):
            self._enqueue([ShardPlan(remaining, shard.plan.losses + 1, shard.plan.divisions)])

    def _give_up(self, shard: SentShard, problem: WorkersError) -> None:
        for tenant in self._take_remaining(shard):
            self._work.fail(tenant, problem)

    def _take_remaining(self, shard: SentShard) -> tuple[str, ...]:
        """Forget a shard, place what its worker had finished, and return the tenants that are left."""
        self._settling.take_existing(self._list_open(shard))
        remaining = tuple(self._list_open(shard))
        if remaining:
            shard.span.fail()
        self._forget(shard)
        return remaining

    def _drop_run(self, shard: SentShard, reason: str) -> None:
        """Mark the run of a worker that no longer has the shard as cancelled; a worker that comes back then stops."""
        self._server.ask(lambda: self._pool.cancel([shard.run_id], reason=reason, is_lost=True))

    def _list_open(self, shard: SentShard) -> list[str]:
        return [tenant for tenant in shard.plan.tenants if self._work.is_open(tenant)]

    def _forget(self, shard: SentShard) -> None:
        self._sent.pop(shard.run_id, None)
        shard.span.set(worker=shard.worker)
        shard.span.end()


def _make_cancelled_error(message: str) -> WorkersError:
    return WorkersError("the end of its shard", f"a cancelled run: {message}", "run again")
