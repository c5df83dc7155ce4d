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

_TENANTS_KEPT = 1_000
_SECONDS = 2.0
"""After which a tenant's versions are looked up again: one may be gone, or its number another's since."""
_AT_ONCE = 4
"""Tenants whose versions are looked up at once."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A tenant's versions by number, and why they could not be looked up again, where they could not."""

    read_s: float
    versions: Mapping[str, Version]
    trouble: PrefixFleetError | None = None


class Numbered:
    """The tenants that were asked for last; to be asked from one event loop."""

    def __init__(self, versions: Callable[[str], list[Version]]) -> None:
        """`versions` gives all of a tenant; it blocks, and may raise."""
        self._versions = versions
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._finding: dict[str, asyncio.Task[_Found]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="prefixfleet-versions")

    async def find(self, tenant: str, number: str, *, keep: bool) -> Version | None:
        """A tenant's version; with `keep` one that is known is not looked up again.

        Raises:
            PrefixFleetError: what `versions` raised, now or a moment ago.
        """
        found = self._found.get(tenant)
        if found is not None and found.versions:
            self._found.move_to_end(tenant)
            if keep and number in found.versions:
                return found.versions[number]
        if found is None or time.monotonic() - found.read_s >= _SECONDS:
            if tenant not in self._finding:
                self._finding[tenant] = asyncio.create_task(self._look_up(tenant))
            found = await asyncio.shield(self._finding[tenant])
        if found.trouble is not None:
            raise found.trouble.with_traceback(None)
        return found.versions.get(number)

    async def _look_up(self, tenant: str) -> _Found:
        try:
            versions = await asyncio.get_running_loop().run_in_executor(self._threads, self._versions, tenant)
            found = _Found(time.monotonic(), servable({one.version: one for one in versions}))
        except PrefixFleetError as problem:
            known = self._found.get(tenant)
            found = _Found(time.monotonic(), known.versions if known else {}, problem)
        finally:
            del self._finding[tenant]
        self._found[tenant] = found
        self._found.move_to_end(tenant)
        while len(self._found) > _TENANTS_KEPT:
            self._found.popitem(last=False)
        return found


def servable(versions: Mapping[str, Version]) -> dict[str, Version]:
    """Those that have content."""
    return {name: version for name, version in versions.items() if version.sha256}
