"""Threads of their own for one kind of blocking work, so that one kind that hangs does not delay the others.

The calls of several tenants take turns. A tenant may use some of the threads at once, and a limited number of calls may
wait; beyond it a call is refused at once. Knows no work.

All pools of a server together need at most as many connections as `components.storage.database` opens.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from components.serving.interface import BusyError

_RETRY_SECONDS = 1.0
_Result = TypeVar("_Result")
_Call = tuple["Future[Any]", Callable[[], Any]]


class FairThreadPool:
    """A pool for one kind of work; safe to use from many threads."""

    def __init__(
        self,
        kind: str,
        threads: int = 1,
        *,
        tenant_threads: int | None = None,
        max_calls: int = 1024,
        max_tenant_calls: int | None = None,
    ) -> None:
        """`kind` names the work in errors. No thread runs yet.

        `tenant_threads` of one tenant's calls run at once (None: any number). At most `max_calls` calls in all, and
        `max_tenant_calls` of one tenant, run or wait.
        """
        self._kind, self._threads = kind, threads
        self._tenant_threads = tenant_threads or threads
        self._max_calls, self._max_tenant_calls = max_calls, max_tenant_calls or max_calls
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"prefixfleet-{kind.replace(' ', '-')}")
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Call]] = {}
        """Tenant -> its waiting calls; the tenant whose turn is next comes first."""
        self._running: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        """Tenant -> its calls that run or wait."""

    async def run(self, work: Callable[[], _Result], tenant: str = "") -> _Result:
        """Run `work` in a thread and return its result. If the caller is cancelled, work that has begun goes on.

        Raises:
            BusyError: too many calls run or wait; and whatever `work` raises.
        """
        return await asyncio.wrap_future(self.submit(work, tenant))

    def submit(self, work: Callable[[], _Result], tenant: str = "") -> "Future[_Result]":
        """As `run`, but return the future result. Raises BusyError."""
        future: Future[_Result] = Future()
        with self._lock:
            if self._calls[tenant] >= self._max_tenant_calls:
                raise self._make_busy_error(f"{self._max_tenant_calls} of this tenant")
            if self._calls.total() >= self._max_calls:
                raise self._make_busy_error(f"{self._max_calls} in all")
            self._calls[tenant] += 1
            self._waiting.setdefault(tenant, deque()).append((future, work))
        future.add_done_callback(lambda done: self._remove_cancelled(tenant, (done, work)))
        self._executor.submit(self._run_calls)
        return future

    def has_waiting(self, tenant: str) -> bool:
        """Return whether a call of the tenant waits."""
        with self._lock:
            return tenant in self._waiting

    def close(self) -> None:
        """Cancel the calls that wait, and wait for those that run."""
        with self._lock:
            waiting = [future for calls in self._waiting.values() for future, _ in calls]
        for future in waiting:
            future.cancel()
        self._executor.shutdown(wait=True)

    def _run_calls(self) -> None:
        """Run calls until none may run now; calls of a tenant at its limit are left to the thread that runs one."""
        while (taken := self._take_call()) is not None:
            tenant, (future, work) = taken
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(work())
            except BaseException as problem:  # noqa: BLE001 - raised again by the future
                future.set_exception(problem)
            with self._lock:
                _count_down(self._running, tenant)
                _count_down(self._calls, tenant)

    def _remove_cancelled(self, tenant: str, call: _Call) -> None:
        """Free the place of a call that was cancelled while it waited."""
        with self._lock:
            if call in self._waiting.get(tenant, ()):
                self._waiting[tenant].remove(call)
                if not self._waiting[tenant]:
                    del self._waiting[tenant]
                _count_down(self._calls, tenant)

    def _take_call(self) -> tuple[str, _Call] | None:
        with self._lock:
            for tenant, calls in self._waiting.items():
                if self._running[tenant] < self._tenant_threads:
                    call = calls.popleft()
                    del self._waiting[tenant]
                    if calls:
                        self._waiting[tenant] = calls  # at the end: the others' turn comes first
                    self._running[tenant] += 1
                    return tenant, call
            return None

    def _make_busy_error(self, limit: str) -> BusyError:
        wanted = f"fewer than {limit} waiting calls of this kind: {self._kind}"
        return BusyError(wanted, "no free place", "try again later", retry_after=_RETRY_SECONDS)


def _count_down(counts: Counter[str], tenant: str) -> None:
    counts[tenant] -= 1
    if not counts[tenant]:
        del counts[tenant]
