"""Rate limits: requests and tokens per minute of each tenant, over all servers that share a database.

A server leases parts of the tenants' shared buckets ahead, so that few requests wait for the database; one transaction
serves all requests that wait. A tenant without limits costs nothing. Does not know HTTP; the clock is passed in.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from components.config.serve import AccessConfig
from components.errors import WorkspaceError
from components.rollout.store.quota_leases import BEAT_SECONDS, Lease, LeaseRequest, QuotaKey, QuotaLeases
from components.serving.errors import LOGGER_NAME, RefusalError
from components.serving.http.leased_bucket import LEASED_PART, LeasedBucket, Waiting
from components.serving.interface import BusyError
from components.serving.thread_pool import FairThreadPool

_MAX_BATCH = 200
"""Buckets in one transaction."""
_IDLE_SECONDS = 1.0
"""After which an unused lease is given back."""
_FORGET_SECONDS = 600.0
"""After which nothing is kept about an idle tenant."""
_Due = tuple[LeasedBucket, LeaseRequest, Waiting]


class Quotas:
    """The quotas of all tenants at one server; use it from one event loop."""

    def __init__(
        self,
        access: Callable[[str], AccessConfig],
        clock: Callable[[], float],
        leases: QuotaLeases,
        *,
        has_limits: bool = True,
        patience_seconds: float = 3.0,
    ) -> None:
        """`access` returns a tenant's limits; `has_limits`: some tenant has one. `clock` gives monotonic seconds.

        A request waits for the database for `patience_seconds`; then the server's own share counts.
        """
        self._has_limits, self._patience_seconds = has_limits, patience_seconds
        self._access, self._clock, self._leases = access, clock, leases
        self._buckets: dict[QuotaKey, LeasedBucket] = {}
        self._pool = FairThreadPool("quotas")
        self._due: dict[QuotaKey, LeasedBucket] = {}
        """The buckets that the database is to be asked for."""
        self._exchanging: asyncio.Task[None] | None = None
        self._servers, self._beat_s = 1, float("-inf")
        self.lease_error = ""
        """Why this server's own share of each quota counts; "": the shared quotas do."""

    async def admit(self, tenant: str, tokens: int, requests: int = 1) -> None:
        """Take the requests and `tokens` from the tenant's quotas, or nothing if one of them is used up.

        `tokens` is the most that the request may use; `settle` gives the unused ones back.

        Raises:
            RefusalError: 429, the quota of requests or tokens is used up.
        """
        access = self._access(tenant)
        amounts = (("requests", access.requests_per_minute, requests), ("tokens", access.tokens_per_minute, tokens))
        taken: list[tuple[LeasedBucket, int]] = []
        try:
            for unit, limit, amount in amounts:
                if limit is None:
                    continue
                bucket = self._get_bucket((tenant, unit), limit)
                if wait_s := await self._take(bucket, amount):
                    wanted, got = f"at most {limit} {unit} per minute of {tenant}", "a quota that is used up"
                    fix = f"retry in {wait_s:.1f} s, or ask your operator for a larger quota"
                    raise RefusalError(429, wanted, got, fix, code="quota", retry_after=wait_s)
                taken.append((bucket, amount))
        except BaseException:
            for bucket, amount in taken:
                bucket.give_back(amount)
            raise

    def settle(self, tenant: str, reserved: int, used: int) -> None:
        """Charge the `used` tokens of a request in place of the `reserved` ones."""
        bucket = self._buckets.get((tenant, "tokens"))
        if bucket is not None:
            bucket.give_back(reserved - used)
            if bucket.owes_or_hoards():
                self._wake(bucket)

    def forget(self, tenant: str) -> None:
        """Drop what is leased of a tenant's quotas; its requests that wait are admitted."""
        for key in [key for key in self._buckets if key[0] == tenant]:
            self._due.pop(key, None)
            for _, future in self._buckets.pop(key).pop_all():
                if not future.done():
                    future.set_result(0.0)

    async def run_forever(self) -> None:
        """Say that this server is alive, give idle leases back, and try a failing database again, until cancelled."""
        while True:
            await self.exchange()
            await asyncio.sleep(_IDLE_SECONDS)

    async def exchange(self) -> None:
        """Give idle leases back, and ask the database for all that is due."""
        now_s = self._clock()
        for key, bucket in list(self._buckets.items()):
            idle_s = now_s - bucket.used_s
            if idle_s >= _IDLE_SECONDS and bucket.balance:
                self._due[key] = bucket
            elif idle_s >= _FORGET_SECONDS:
                del self._buckets[key]
        await asyncio.wait({self._wake()})

    async def close(self) -> None:
        """Give all leases back."""
        for bucket in self._buckets.values():
            bucket.used_s = float("-inf")
        await self.exchange()
        if self._has_limits and not self.lease_error:
            try:
                await self._pool.run(self._leases.leave)
            except WorkspaceError as problem:
                logging.getLogger(LOGGER_NAME).warning("%s", problem)

    async def _take(self, bucket: LeasedBucket, amount: float) -> float:
        """Return the seconds to wait; 0: the amount was taken."""
        now_s = self._clock()
        wait_s = bucket.try_take(amount, now_s)
        if wait_s is None:
            future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            bucket.waiting.append((amount, future))
            self._wake(bucket)
            try:
                wait_s = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled() and not future.result():
                    bucket.give_back(amount)
                raise
        elif bucket.own_share is None and bucket.is_low(now_s):
            self._wake(bucket)
        return wait_s

    def _wake(self, bucket: LeasedBucket | None = None) -> "asyncio.Task[None]":
        """Ask the database for what is due, and for this bucket."""
        if bucket is not None:
            self._due[bucket.key] = bucket
        if self._exchanging is None or self._exchanging.done():
            self._exchanging = asyncio.create_task(self._exchange())
        return self._exchanging

    async def _exchange(self) -> None:
        """Ask the database until nothing is due."""
        while True:
            now_s = self._clock()
            beats = self._has_limits and (now_s - self._beat_s >= BEAT_SECONDS or bool(self.lease_error))
            batch = [] if self.lease_error else self._take_due(now_s)
            if not batch and not beats:
                return
            try:
                leases, servers = await self._ask(batch, beats=beats)
            except (WorkspaceError, BusyError) as problem:
                for bucket, request, _ in batch:
                    bucket.balance -= request.owed
                self._start_own_shares(str(problem), batch)
                return
            except BaseException:
                for _, future in chain.from_iterable(served for _, _, served in batch):
                    future.cancel()
                raise
            now_s = self._clock()
            if servers is not None:
                self._servers, self._beat_s = max(1, servers), now_s
            for bucket, request, served in batch:
                bucket.apply(request, served, leases[bucket.key], now_s)
            self._end_own_shares(now_s)

    async def _ask(self, batch: Sequence[_Due], *, beats: bool) -> tuple[Mapping[QuotaKey, Lease], int | None]:
        requests = [request for _, request, _ in batch]
        call = asyncio.create_task(self._pool.run(lambda: self._leases.take(requests, beats=beats)))
        done, _ = await asyncio.wait({call}, timeout=self._patience_seconds)
        if not done:
            self._start_own_shares(f"no answer of the database within {self._patience_seconds:.0f} s", batch)
        return await call

    def _take_due(self, now_s: float) -> list[_Due]:
        batch: list[_Due] = []
        while self._due and len(batch) < _MAX_BATCH:
            bucket = self._due.pop(next(iter(self._due)))
            bucket.part = LEASED_PART * bucket.per_minute / self._servers
            made = bucket.make_request(now_s, is_idle=now_s - bucket.used_s >= _IDLE_SECONDS)
            if made is not None:
                batch.append((bucket, *made))
            if bucket.waiting:  # behind a request for more than a minute's quota
                self._due[bucket.key] = bucket
                break
        return batch

    def _start_own_shares(self, problem: str, batch: Sequence[_Due]) -> None:
        if not self.lease_error:
            logging.getLogger(LOGGER_NAME).warning("this server's own share of each quota counts: %s", problem)
        self.lease_error, now_s = problem, self._clock()
        asked = [(bucket, served) for bucket, _, served in batch]
        for bucket, waiting in chain(asked, [(bucket, bucket.pop_all()) for bucket in self._buckets.values()]):
            bucket.start_own_share(self._servers, now_s)
            for amount, future in waiting:
                if not future.done():
                    future.set_result(bucket.try_take(amount, now_s) or 0.0)

    def _end_own_shares(self, now_s: float) -> None:
        if self.lease_error:
            logging.getLogger(LOGGER_NAME).warning("the shared quotas count again")
        self.lease_error = ""
        for bucket in self._buckets.values():
            if bucket.own_share is not None:
                bucket.end_own_share(now_s)
                self._due[bucket.key] = bucket

    def _get_bucket(self, key: QuotaKey, limit: int) -> LeasedBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = LeasedBucket(key, limit, used_s=self._clock())
            if self.lease_error:
                bucket.start_own_share(self._servers, self._clock())
        return bucket
