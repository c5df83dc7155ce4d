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
from components.serving.engine.artifacts.cache import Residents
from components.serving.errors import LOGGER

_AT_A_LOOK = 32
"""Tenants; one call of MLflow's."""
_FIRST, _NEVER = -2.0, -1.0
"""In place of the moment of the last lookup."""


class Tending:
    """One server's artifacts, tended; `follow` and `retry` may overlap, but not with themselves."""

    def __init__(self, residents: Residents, contents: Callable[[Collection[str]], Mapping[str, set[str]]]) -> None:
        """`contents` gives the sha256s of all versions of tenants, by tenant; it blocks, and may raise."""
        self._residents, self._contents = residents, contents
        self._asked_s: dict[str, float] = {}
        """When each content that bears no alias was last looked up, by the monotonic clock."""
        self._stood: frozenset[str] = frozenset()
        """The champions and challengers of the look before."""
        self._standing: Collection[str] = ()
        self._has_news = asyncio.Event()

    def hear(self, standing: Collection[str]) -> None:
        """Let `follow` look; `standing` as there."""
        self._standing = standing
        self._has_news.set()

    async def follow(self) -> None:
        """Look as often as there is something to `hear`, at the newest, until cancelled."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            await self.look(self._standing)

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
        new_s = {sha256: _FIRST if sha256 in self._stood else _NEVER for sha256 in loose}
        self._asked_s = {sha256: self._asked_s.get(sha256, new_s[sha256]) for sha256 in loose}
        self._stood = standing
        in_turn = dict.fromkeys(loose[sha256] for sha256 in sorted(loose, key=self._asked_s.__getitem__))
        tenants = frozenset(islice(in_turn, _AT_A_LOOK))
        if not tenants:
            return 0
        held = set[str]().union(*self._contents(sorted(tenants)).values())
        asked = [sha256 for sha256, tenant in loose.items() if tenant in tenants]
        gone = [sha256 for sha256 in asked if sha256 not in held]
        self._residents.drop(gone)
        self._asked_s |= dict.fromkeys(asked, time.monotonic())
        return len(gone)
