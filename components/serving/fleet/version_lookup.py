"""Find a tenant's version by its number, and cache the result for a short time.

A slow or failing registry delays only the requests that wait for it: a tenant has one lookup at a time, lookups have
threads of their own, and a failed lookup is not repeated at once. Knows how versions are listed; does not know aliases
or HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachetools import LRUCache

from components.errors import PrefixFleetError
from components.registry.mlflow.versions import Version
from components.serving.thread_pool import FairThreadPool

_MAX_CACHED_TENANTS = 1_000
_FRESH_SECONDS = 2.0
"""Age at which a tenant's versions are looked up again: a version may have been deleted, or its number reused."""
_MAX_CONCURRENT_LOOKUPS = 4
"""Tenants."""
_MAX_WAITING_LOOKUPS = 256
"""Tenants, with those that are looked up; requests of further ones get 429."""


@dataclass(frozen=True, slots=True)
class _TenantVersions:
    """The result of a lookup; after a failed one, the versions that were known before and the error."""

    read_s: float
    by_number: Mapping[str, Version]
    error: PrefixFleetError | None = None


class VersionLookup:
    """The versions of the tenants that were asked for most recently; use it from one event loop."""

    def __init__(
        self, list_versions: Callable[[str], list[Version]], timer: Callable[[], float] = time.monotonic
    ) -> None:
        """`list_versions` returns all versions of a tenant; it blocks, and may raise. `timer` gives seconds."""
        self._list_versions, self._timer = list_versions, timer
        self._cache: LRUCache[str, _TenantVersions] = LRUCache(_MAX_CACHED_TENANTS)
        self._running_lookups: dict[str, asyncio.Task[_TenantVersions]] = {}
        self._pool = FairThreadPool("look-ups of versions", _MAX_CONCURRENT_LOOKUPS, max_calls=_MAX_WAITING_LOOKUPS)

    async def find_version(self, tenant: str, number: str, *, use_cached: bool) -> Version | None:
        """Return the tenant's version, or None; with `use_cached` a cached version counts however old it is.

        Raises:
            PrefixFleetError: raised by `list_versions`, now or less than 2 seconds ago.
        """
        known = self._cache.get(tenant)
        if known is not None and use_cached and number in known.by_number:
            return known.by_number[number]
        if known is None or self._timer() - known.read_s >= _FRESH_SECONDS:
            if tenant not in self._running_lookups:
                self._running_lookups[tenant] = asyncio.create_task(self._look_up(tenant))
            known = await asyncio.shield(self._running_lookups[tenant])
        if known.error is not None:
            raise known.error.with_traceback(None)
        return known.by_number.get(number)

    async def _look_up(self, tenant: str) -> _TenantVersions:
        try:
            versions = await self._pool.run(lambda: self._list_versions(tenant), tenant)
            result = _TenantVersions(self._timer(), {one.version: one for one in versions})
        except PrefixFleetError as problem:
            known = self._cache.get(tenant)
            result = _TenantVersions(self._timer(), known.by_number if known else {}, problem)
        finally:
            del self._running_lookups[tenant]
        self._cache[tenant] = result
        return result
