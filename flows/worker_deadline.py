"""The deadline for a worker to take a shard: it runs while shards wait, none is at work, and no worker asks for one."""

from collections.abc import Collection

from components.errors import WorkersError
from components.stages.sharding.sent_shard import SentShard
from flows.server_patience import ServerPatience
from flows.worker_pool import WorkerPool


class NoWorkerError(WorkersError):
    """No worker takes shards."""


class WorkerDeadline:
    """The deadline of one run. Times are those of the parent's `ObservedClock`."""

    def __init__(self, pool: WorkerPool, server: ServerPatience, minutes: float) -> None:
        """Begin when `check` is first called with waiting shards."""
        self._pool, self._server, self._minutes = pool, server, minutes
        self._since_s, self._last_poll = 0.0, ""

    def check(self, shards: Collection[SentShard], now_s: float) -> None:
        """Raise NoWorkerError if it is over. A worker that asks for shards may be at work for another parent."""
        if not shards or any(shard.is_taken for shard in shards):
            self._since_s = now_s
            return
        last_poll = self._server.ask(self._pool.read_last_poll)
        if last_poll is not None and last_poll != self._last_poll:
            if self._last_poll:
                self._since_s = now_s
            self._last_poll = last_poll
        if now_s - self._since_s > self._minutes * 60:
            wanted = f"a worker of work pool {self._pool.name!r} within {self._minutes:g} minutes"
            workers = self._server.ask(self._pool.describe_workers) or "Prefect's server does not answer"
            fix = f"start one with the parent's code: {self._pool.start_hint}; or set workers.fallback to here"
            raise NoWorkerError(wanted, workers, fix)
