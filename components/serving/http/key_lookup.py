"""Look API keys up for an event loop: in threads of their own, one read of a key for all requests that wait for it.

Keys that were read before have other threads than unknown ones, so that unknown keys do not delay them; and while the
database is slow, what was read before counts. Does not know HTTP.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from components.access.api_keys import ApiKey, ApiKeys, KeyRecord, parse_key
from components.serving.interface import BusyError
from components.serving.thread_pool import FairThreadPool

_THREADS = 4
_MAX_CALLS = 256
"""Keys that are read, or wait for it."""
_PATIENCE_SECONDS = 1.0
"""How long a request waits for the read of a key that was read before."""
_Result = TypeVar("_Result")


class KeyLookup:
    """The keys of one server; use it from one event loop."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._known_pool = FairThreadPool("look-ups of API keys", _THREADS, max_calls=_MAX_CALLS)
        self._unknown_pool = FairThreadPool("look-ups of unknown API keys", _THREADS, max_calls=_MAX_CALLS)
        self._reads: dict[str | None, asyncio.Task[Any]] = {}
        """Key's id -> its read that runs; None: whether there is any key."""

    async def has_any(self) -> bool:
        """See `ApiKeys.has_any`. Raises BusyError, WorkspaceError."""
        return await self._share(None, self._known_pool, self._keys.has_any)

    async def verify(self, text: str) -> ApiKey | None:
        """See `ApiKeys.verify`. Raises BusyError or WorkspaceError: a key that was not read before cannot be read."""
        key_id, _ = parse_key(text)
        record = self._keys.find_fresh(key_id) or await self._read(key_id)
        return self._keys.check(text, record)

    async def _read(self, key_id: str) -> KeyRecord:
        known = self._keys.find_known(key_id)
        if known is None:
            return await self._share(key_id, self._unknown_pool, lambda: self._keys.read(key_id))
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._share(key_id, self._known_pool, lambda: self._keys.read(key_id))
        except (TimeoutError, BusyError):
            return known

    async def _share(self, name: str | None, pool: FairThreadPool, work: Callable[[], _Result]) -> _Result:
        if name not in self._reads:
            self._reads[name] = asyncio.create_task(pool.run(work))
            self._reads[name].add_done_callback(lambda done: self._end_read(name, done))
        result: _Result = await asyncio.shield(self._reads[name])
        return result

    def _end_read(self, name: str | None, done: asyncio.Task[Any]) -> None:
        del self._reads[name]
        if not done.cancelled():
            done.exception()  # or asyncio logs it, if no request waits for it any more
