"""Counts what tenants use at this server, and adds it to the database in numbered batches: each exactly once.

If a write fails, its batch is sent again with its number before anything newer, as the database may have it already.
Does not know HTTP, prices or budgets.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping

from components.errors import WorkspaceError
from components.rollout.store.usage import SECONDS_PER_DAY, Usage, UsageKey, add_served
from components.serving.errors import LOGGER_NAME
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database


class UsageBuffer:
    """Usage that waits to be written; use it from one event loop."""

    def __init__(
        self,
        database: Database,
        take_device_seconds: Callable[[], Mapping[str, float]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`take_device_seconds` is as that of `Engine`; `clock` gives seconds since 1970."""
        self._database, self._take_device_seconds, self._clock = database, take_device_seconds, clock
        self._pool = FairThreadPool("usage")
        self._writer, self._number = secrets.token_hex(16), 1
        self._batch: dict[UsageKey, Usage] = {}
        """Is being written, or could not be, with the present number."""
        self._waiting: dict[UsageKey, Usage] = {}
        self._forgotten: set[str] = set()
        """Tenants whose rows may still end; until their next request their device time is nobody's."""
        self.write_error = ""
        """Why the last batch could not be written; "": it was written."""

    def add(self, tenant: str, *, requests: int = 0, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """Count an answered request, today."""
        self._forgotten.discard(tenant)
        self._add(tenant, Usage(requests=requests, input_tokens=input_tokens, output_tokens=output_tokens))

    def forget(self, tenant: str) -> None:
        """Drop everything of a tenant, also the device time of its rows that end later."""
        self._forgotten.add(tenant)
        self._batch = {key: one for key, one in self._batch.items() if key.tenant != tenant}
        self._waiting = {key: one for key, one in self._waiting.items() if key.tenant != tenant}

    async def flush(self) -> None:
        """Write everything that waits; what cannot be written waits for the next time."""
        self._take_device_time()
        while self._batch or self._waiting:
            if not self._batch:
                self._batch, self._waiting = self._waiting, {}
            batch, number = dict(self._batch), self._number
            try:
                await self._pool.run(lambda: add_served(self._database, self._writer, number, batch))  # noqa: B023
            except WorkspaceError as problem:
                if not self.write_error:
                    logging.getLogger(LOGGER_NAME).warning("usage waits to be written: %s", problem)
                self.write_error = str(problem)
                return
            self._batch, self._number, self.write_error = {}, number + 1, ""

    async def run_forever(self, seconds: float) -> None:
        """Write every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.flush()

    def _take_device_time(self) -> None:
        for tenant, seconds in self._take_device_seconds().items():
            if tenant not in self._forgotten:
                self._add(tenant, Usage(serving_us=round(1e6 * seconds)))

    def _add(self, tenant: str, usage: Usage) -> None:
        key = UsageKey(tenant, int(self._clock() // SECONDS_PER_DAY))
        known = self._waiting.get(key)
        self._waiting[key] = usage if known is None else known.add(usage)
