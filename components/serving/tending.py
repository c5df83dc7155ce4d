"""What goes on beside the answers so that the artifacts near the base are those that MLflow holds.

An artifact of a tenant that was forgotten, or of a version that was deleted, leaves device, memory and disk at the look
that finds it gone: at once where a champion or challenger goes, and in turn for the versions that bear no alias. What
the store could not give is tried again until it answers. Knows residents and who asks the registry; no HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

from components.errors import RegistryError
from components.serving.engine.residents import Residents
from components.serving.problems import LOGGER

_IN_TURN = 32
"""Tenants whose versions are looked up again at each look; one call of MLflow's."""


class Tending:
    """One server's artifacts, tended; `look` and `retry` may overlap, but not with themselves."""

    def __init__(self, residents: Residents, contents: Callable[[Collection[str]], Mapping[str, set[str]]]) -> None:
        """`contents` gives the sha256s of all versions of tenants, by tenant; it blocks, and may raise."""
        self._residents, self._contents = residents, contents
        self._seen_s: dict[str, float] = {}
        """When each content that bears no alias was last found in the registry, by the monotonic clock."""

    async def look(self, standing: Collection[str]) -> None:
        """Drop what is gone; `standing` are the sha256s of champions and challengers, which are not looked up.

        Where the registry does not answer everything stays until the next look.
        """
        try:
            gone = await asyncio.to_thread(self._drop, frozenset(standing))
        except RegistryError as problem:
            logging.getLogger(LOGGER).warning("artifacts stay until it is known whose they are: %s", problem)
            return
        if gone:
            logging.getLogger(LOGGER).info("artifacts that left with their tenants or versions: %d", gone)

    async def retry(self) -> None:
        """Ask the store again for what it could not give, if anything."""
        if self._residents.trouble:
            await self._residents.retry()
            if not self._residents.trouble:
                logging.getLogger(LOGGER).warning("store: answers again")

    def _drop(self, standing: frozenset[str]) -> int:
        loose = {sha256: tenant for sha256, tenant in self._residents.owners.items() if sha256 not in standing}
        self._seen_s = {sha256: seen_s for sha256, seen_s in self._seen_s.items() if sha256 in loose}
        fresh = {tenant for sha256, tenant in loose.items() if sha256 not in self._seen_s}
        in_turn = sorted(self._seen_s, key=self._seen_s.__getitem__)[:_IN_TURN]
        tenants = fresh | {loose[sha256] for sha256 in in_turn}
        if not tenants:
            return 0
        held = set[str]().union(*self._contents(sorted(tenants)).values())
        asked = [sha256 for sha256, tenant in loose.items() if tenant in tenants]
        gone = [sha256 for sha256 in asked if sha256 not in held]
        self._residents.drop(gone)
        self._seen_s |= dict.fromkeys(asked, time.monotonic())
        return len(gone)
