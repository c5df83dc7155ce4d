"""Who answers for a tenant: MLflow's champions and challengers, followed, and how much traffic meets a challenger.

One look reads the whole fleet; a request takes the map that stands when it comes and keeps its artifact to the end, so
a swap falls between two requests. Where MLflow or the database does not answer, the last map stays. Knows no HTTP; what
reads the registry is handed in.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from components.errors import PrefixFleetError
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy.traffic_split import draw
from components.rollout.types import Arm, Exposure, Ticket
from components.serving.errors import LOGGER, RefusalError, unavailable
from components.serving.fleet.version_lookup import Numbered, servable
from components.serving.interface import Artifact

_WARMED_AT_ONCE = 64
_WARM_SECONDS = 2.0
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class FleetMap:
    """Everybody's versions at one moment."""

    champions: Mapping[str, Version] = field(default_factory=dict)
    challengers: Mapping[str, Version] = field(default_factory=dict)
    exposures: Mapping[str, Exposure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who answers a request, and who answers it unseen."""

    version: Version
    arm: Arm
    """Versions that were asked for by number count as champions, unless they are on trial."""
    shadow: Version | None = None
    instead: Version | None = None
    """The champion, where the challenger was drawn and may fail."""
    ticket: Ticket | None = None
    """What makes the answer evidence, where it was drawn who answers."""


class Fleet:
    """The map, kept up to date; to be asked from one event loop."""

    def __init__(
        self,
        aliases: Callable[[], Mapping[str, Mapping[str, Version]]],
        versions: Callable[[str], list[Version]],
        exposures: Callable[[], Mapping[str, Exposure]],
    ) -> None:
        """`aliases` gives alias -> tenant -> version; `versions` all of a tenant. All three block, and may raise."""
        self._aliases, self._numbered, self._exposures = aliases, Numbered(versions), exposures
        self._looking = asyncio.Lock()
        self.map = FleetMap()
        self.trouble: dict[str, str] = {}
        """What could not be read at the last look: registry, rollout; with the reason."""
        self.read_s: float | None = None
        """When the registry was last read, by the monotonic clock; None before the first time."""
        self.warm: Callable[[Artifact], Awaitable[None]] | None = None
        """Brings an artifact near the base, so that the first request after a swap does not wait for it."""
        self.on_read: Callable[[Collection[str]], None] | None = None
        """Hears the sha256s of all champions and challengers at each look that the registry answers."""
        self.on_gone: Callable[[str], None] | None = None
        """Hears of each tenant that has neither champion nor challenger any more."""
        self.swaps = 0
        """Champions and challengers that have changed since the start."""

    async def refresh(self) -> None:
        """Look now. What cannot be read stays as it was."""
        async with self._looking:
            aliases = await self._attempt("registry", self._aliases)
            exposures = await self._attempt("rollout", self._exposures)
            old = self.map
            champions, challengers = old.champions, old.challengers
            if aliases is not None:
                champions, challengers = (servable(aliases.get(alias, {})) for alias in (CHAMPION, CHALLENGER))
                if self.read_s is not None:
                    changed = _changed(old.champions, champions) + _changed(old.challengers, challengers)
                    self.swaps += len(changed)
                    await self._prepare(changed)
                self.read_s = time.monotonic()
            self.map = FleetMap(champions, challengers, old.exposures if exposures is None else exposures)
        for tenant in {*old.champions, *old.challengers} - {*self.map.champions, *self.map.challengers}:
            if self.on_gone is not None:
                self.on_gone(tenant)
        if self.on_read is not None and aliases is not None:
            self.on_read({version.sha256 for version in (*champions.values(), *challengers.values())})

    def knows(self, tenant: str) -> bool:
        """Whether it has a champion or a challenger."""
        return tenant in self.map.champions or tenant in self.map.challengers

    async def follow(self, seconds: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)

    async def choose(self, tenant: str, which: str, key: str | None) -> Choice:
        """Who answers for a tenant: `which` is an alias, a version's number, or "" for what its rollout says of a key.

        Without a `key`, each request is drawn by itself.

        Raises:
            RefusalError: 404, no such version; 503, the registry has not been read yet.
        """
        now = self.map
        champion, challenger = now.champions.get(tenant), now.challengers.get(tenant)
        if which.isascii() and which.isdigit():
            found = await self._numbered.find(tenant, which, keep="registry" in self.trouble)
            version = _there(found, tenant, f"version {which}")
            return Choice(version, CHALLENGER if challenger and challenger.version == which else CHAMPION)
        if self.read_s is None:
            raise unavailable("to know the tenants' versions", "no answer from the registry yet")
        if which == CHALLENGER:
            return Choice(_there(challenger, tenant, which), CHALLENGER)
        if which not in ("", CHAMPION):
            raise not_found(f"{tenant}: no {which[:40]}")
        exposure = now.exposures.get(tenant) if which == "" else None
        stands = Choice(_there(champion, tenant, CHAMPION), CHAMPION)
        if exposure is None or challenger is None or exposure.challenger != challenger.version:
            return stands
        drawn, ticket = draw(tenant, key, exposure)
        if exposure.shadow:
            return replace(stands, shadow=challenger, ticket=ticket) if drawn == CHALLENGER else stands
        if drawn == CHAMPION:
            return replace(stands, ticket=ticket)
        return Choice(challenger, CHALLENGER, instead=champion, ticket=ticket)

    async def _prepare(self, changed: Iterable[Version | None]) -> None:
        """Bring what was swapped in near the base, if that is soon done; trouble is told to who asks for it."""
        wanted = [to_artifact(version) for version in changed if version is not None][:_WARMED_AT_ONCE]
        if self.warm is not None and wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WARM_SECONDS):
                    await asyncio.gather(*(self.warm(artifact) for artifact in wanted), return_exceptions=True)

    async def _attempt(self, what: str, read: Callable[[], _Found]) -> _Found | None:
        try:
            found = await asyncio.to_thread(read)
        except PrefixFleetError as problem:
            if what not in self.trouble:
                logging.getLogger(LOGGER).warning("%s: the last known state stays: %s", what, problem)
            self.trouble[what] = str(problem)
            return None
        if self.trouble.pop(what, None) is not None:
            logging.getLogger(LOGGER).warning("%s: answers again", what)
        return found


def to_artifact(version: Version) -> Artifact:
    """What the engine needs of a registered version."""
    return Artifact(version.tenant, version.version, version.sha256)


def _changed(old: Mapping[str, Version], new: Mapping[str, Version]) -> list[Version | None]:
    """The new versions of those tenants whose version has changed; None where one has none any more."""
    tenants = sorted({*old, *new})
    return [new.get(tenant) for tenant in tenants if _digest(old.get(tenant)) != _digest(new.get(tenant))]


def _digest(version: Version | None) -> str:
    return version.sha256 if version else ""


def _there(found: Version | None, tenant: str, which: str) -> Version:
    if found is None:
        raise not_found(f"{tenant}: no {which}")
    return found


def not_found(got: str = "none that is yours") -> RefusalError:
    """404, the same for what does not exist and for what is somebody else's."""
    return RefusalError(404, "a model that you may ask", got, "see GET /v1/models", code="model_not_found")
