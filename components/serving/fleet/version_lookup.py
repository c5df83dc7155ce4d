"""Versions that are asked for by number: looked up for each tenant, and what was found kept for a moment.

A registry that is slow or refuses holds up nobody but those who wait for it: a tenant has one lookup at a time, in
threads that do nothing else, and one that failed is not tried again at once. Knows no alias and no HTTP.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.errors import PrefixFleetError
from components.registry.mlflow.versions import Version

_MAX_CACHED_TENANTS = 1_000
_FRESH_SECONDS = 2.0
"""After which a tenant's versions are looked up again: one may be gone, or its number another's since."""
_MAX_CONCURRENT_LOOKUPS = 4
"""Tenants whose versions are looked up at once."""


@dataclass(frozen=True, slots=True)
class _TenantVersions:
    """A tenant's versions by number, and why they could not be looked up again, where they could not."""

    read_s: float
    versions: Mapping[str, Version]
    error: PrefixFleetError | None = None


class VersionLookup:
    """The tenants that were asked for last; to be asked from one event loop."""

    def __init__(self, versions: Callable[[str], list[Version]]) -> None:
        """`versions` gives all of a tenant; it blocks, and may raise."""
        self._versions = versions
        self._cache: OrderedDict[str, _TenantVersions] = OrderedDict()
        self._running_lookups: dict[str, asyncio.Task[_TenantVersions]] = {}
        self._executor = ThreadPoolExecutor(_MAX_CONCURRENT_LOOKUPS, thread_name_prefix="prefixfleet-versions")

    async def find_version(self, tenant: str, number: str, *, use_cached: bool) -> Version | None:
        """A tenant's version; with `use_cached` one that is known is not looked up again.

        Raises:
            PrefixFleetError: what `versions` raised, now or a moment ago.
        """
        found = self._cache.get(tenant)
        if found is not None and found.versions:
            self._cache.move_to_end(tenant)
            if use_cached and number in found.versions:
                return found.versions[number]
        if found is None or time.monotonic() - found.read_s >= _FRESH_SECONDS:
            if tenant not in self._running_lookups:
                self._running_lookups[tenant] = asyncio.create_task(self._look_up(tenant))
            found = await asyncio.shield(self._running_lookups[tenant])
        if found.error is not None:
            raise found.error.with_traceback(None)
        return found.versions.get(number)

    async def _look_up(self, tenant: str) -> _TenantVersions:
        try:
            versions = await asyncio.get_running_loop().run_in_executor(self._executor, self._versions, tenant)
            found = _TenantVersions(time.monotonic(), select_servable({one.version: one for one in versions}))
        except PrefixFleetError as problem:
            known = self._cache.get(tenant)
            found = _TenantVersions(time.monotonic(), known.versions if known else {}, problem)
        finally:
            del self._running_lookups[tenant]
        self._cache[tenant] = found
        self._cache.move_to_end(tenant)
        while len(self._cache) > _MAX_CACHED_TENANTS:
            self._cache.popitem(last=False)
        return found


def select_servable(versions: Mapping[str, Version]) -> dict[str, Version]:
    """Those that have content."""
    return {name: version for name, version in versions.items() if version.sha256}
