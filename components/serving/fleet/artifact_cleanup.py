"""What goes on beside the answers so that the artifacts near the base are those that MLflow holds.

An artifact of a tenant that was forgotten, or of a version that was deleted, leaves device, memory and disk at the look
that finds it gone. A look asks for so many tenants and no more: first those whose champion or challenger has changed,
then those that were never looked up, then the others in turn. It holds up nothing else. What the store could not give
is tried again until it answers. Knows residents and who asks the registry; no HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from itertools import islice

from components.errors import RegistryError
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.errors import LOGGER_NAME

_TENANTS_PER_LOOKUP = 32
"""Tenants; one call of MLflow's."""
_ALIAS_CHANGED_S, _NEVER_LOOKED_UP_S = -2.0, -1.0
"""In place of the moment of the last lookup."""


class ArtifactCleanup:
    """One server's artifacts, tended; `run_forever` and `retry_failed_fetch` may overlap, but not with themselves."""

    def __init__(
        self, artifact_cache: ArtifactCache, contents: Callable[[Collection[str]], Mapping[str, set[str]]]
    ) -> None:
        """`contents` gives the sha256s of all versions of tenants, by tenant; it blocks, and may raise."""
        self._artifact_cache, self._contents = artifact_cache, contents
        self._looked_up_s: dict[str, float] = {}
        """When each content that bears no alias was last looked up, by the monotonic clock."""
        self._previously_aliased: frozenset[str] = frozenset()
        """The champions and challengers of the look before."""
        self._aliased: Collection[str] = ()
        self._has_changed = asyncio.Event()

    def notify(self, aliased: Collection[str]) -> None:
        """Let `run_forever` look; `aliased` as there."""
        self._aliased = aliased
        self._has_changed.set()

    async def run_forever(self) -> None:
        """Look as often as there is something to `notify`, at the newest, until cancelled."""
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            await self.evict_unregistered(self._aliased)

    async def evict_unregistered(self, aliased: Collection[str]) -> None:
        """Drop what is gone; `aliased` are the sha256s of champions and challengers, which are not looked up.

        Where the registry does not answer everything stays until the next look.
        """
        try:
            gone = await asyncio.to_thread(self._look_up_and_evict, frozenset(aliased))
        except RegistryError as problem:
            logging.getLogger(LOGGER_NAME).warning("artifacts stay until it is known whose they are: %s", problem)
            return
        if gone:
            logging.getLogger(LOGGER_NAME).info("artifacts that left with their tenants or versions: %d", gone)

    async def retry_failed_fetch(self) -> None:
        """Ask the store again for what it could not give, if anything."""
        if self._artifact_cache.store_error:
            await self._artifact_cache.retry_failed_fetch()
            if not self._artifact_cache.store_error:
                logging.getLogger(LOGGER_NAME).warning("store: answers again")

    def _look_up_and_evict(self, aliased: frozenset[str]) -> int:
        loose = {sha256: tenant for sha256, tenant in self._artifact_cache.owners.items() if sha256 not in aliased}
        new_s = {
            sha256: _ALIAS_CHANGED_S if sha256 in self._previously_aliased else _NEVER_LOOKED_UP_S for sha256 in loose
        }
        self._looked_up_s = {sha256: self._looked_up_s.get(sha256, new_s[sha256]) for sha256 in loose}
        self._previously_aliased = aliased
        in_turn = dict.fromkeys(loose[sha256] for sha256 in sorted(loose, key=self._looked_up_s.__getitem__))
        tenants = frozenset(islice(in_turn, _TENANTS_PER_LOOKUP))
        if not tenants:
            return 0
        held = set[str]().union(*self._contents(sorted(tenants)).values())
        asked = [sha256 for sha256, tenant in loose.items() if tenant in tenants]
        gone = [sha256 for sha256 in asked if sha256 not in held]
        self._artifact_cache.evict(gone)
        self._looked_up_s |= dict.fromkeys(asked, time.monotonic())
        return len(gone)
