"""Remove artifacts from the engine once MLflow no longer has them, and repeat failed fetches from the artifact store.

A cleanup deletes the artifacts of deleted versions, and of tenants that `prefixfleet forget` removed, from memory and
disk. It looks up a limited number of tenants in the registry: first those whose champion or challenger has changed,
then those that were never looked up, then the others in turn. It does not delay requests or alias polling. Knows the
artifacts that an engine holds; does not know HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from itertools import islice

from components.errors import RegistryError
from components.serving.background_engine import BackgroundEngine
from components.serving.errors import LOGGER_NAME
from components.serving.interface import HeldArtifacts
from components.serving.thread_pool import FairThreadPool

_TENANTS_PER_CLEANUP = 32
"""Tenants that one call to MLflow looks up."""
_ALIAS_CHANGED_S, _NEVER_LOOKED_UP_S = -2.0, -1.0
"""Stand for the time of the last lookup, so that these are sorted first."""


class ArtifactCleanup:
    """The cleanup of one server's artifacts; run each of `run_forever` and `retry_forever` once, in parallel."""

    def __init__(
        self, engine: BackgroundEngine, find_sha256s: Callable[[Collection[str]], Mapping[str, set[str]]]
    ) -> None:
        """`find_sha256s` takes tenants and returns tenant -> sha256s of all versions in the registry.

        It blocks, and may raise RegistryError.
        """
        self._engine, self._find_sha256s = engine, find_sha256s
        self._pool = FairThreadPool("artifact cleanup")
        self._looked_up_s: dict[str, float] = {}
        """When each artifact without an alias was last looked up, by the monotonic clock."""
        self._previously_aliased: frozenset[str] = frozenset()
        """The sha256s of champions and challengers at the previous cleanup."""
        self._aliased: Collection[str] = ()
        self._has_changed = asyncio.Event()

    def notify(self, aliased: Collection[str]) -> None:
        """Let `run_forever` do a cleanup; `aliased` are the sha256s of all champions and challengers."""
        self._aliased = aliased
        self._has_changed.set()

    async def run_forever(self) -> None:
        """Do one cleanup after each `notify` (several waiting ones count as one), until cancelled."""
        await self._engine.wait()
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            await self.evict_unregistered(self._aliased)

    async def retry_forever(self, seconds: float) -> None:
        """Every `seconds`, repeat the last fetch from the artifact store if it failed; until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            artifacts = (await self._engine.wait()).artifact_cache
            if artifacts.store_error:
                await artifacts.retry_failed_fetch()
                if not artifacts.store_error:
                    logging.getLogger(LOGGER_NAME).warning("the artifact store answers again")

    async def evict_unregistered(self, aliased: Collection[str]) -> None:
        """Evict held artifacts that the registry no longer has; those in `aliased` are not looked up.

        Evicts nothing while the registry does not answer.
        """
        artifacts = (await self._engine.wait()).artifact_cache
        try:
            evicted = await self._pool.run(lambda: self._look_up_and_evict(artifacts, frozenset(aliased)))
        except RegistryError as problem:
            logging.getLogger(LOGGER_NAME).warning("no artifact is removed while the registry fails: %s", problem)
            return
        if evicted:
            logging.getLogger(LOGGER_NAME).info("artifacts removed, their version or tenant is gone: %d", evicted)

    def _look_up_and_evict(self, artifacts: HeldArtifacts, aliased: frozenset[str]) -> int:
        unaliased = {sha256: tenant for sha256, tenant in artifacts.owners.items() if sha256 not in aliased}
        self._looked_up_s = {
            sha256: self._looked_up_s.get(
                sha256, _ALIAS_CHANGED_S if sha256 in self._previously_aliased else _NEVER_LOOKED_UP_S
            )
            for sha256 in unaliased
        }
        self._previously_aliased = aliased
        in_turn = dict.fromkeys(unaliased[sha256] for sha256 in sorted(unaliased, key=self._looked_up_s.__getitem__))
        tenants = frozenset(islice(in_turn, _TENANTS_PER_CLEANUP))
        if not tenants:
            return 0
        registered = set[str]().union(*self._find_sha256s(sorted(tenants)).values())
        looked_up = [sha256 for sha256, tenant in unaliased.items() if tenant in tenants]
        unregistered = [sha256 for sha256 in looked_up if sha256 not in registered]
        artifacts.evict(unregistered)
        self._looked_up_s |= dict.fromkeys(looked_up, time.monotonic())
        return len(unregistered)
