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
from components.rollout.policy.traffic_split import assign_arm
from components.rollout.types import Arm, EvidenceTicket, Exposure
from components.serving.errors import LOGGER_NAME, RefusalError, make_unavailable_error
from components.serving.fleet.version_lookup import VersionLookup, select_servable
from components.serving.interface import ArtifactRef

_MAX_PRELOADS = 64
_PRELOAD_SECONDS = 2.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """Everybody's versions at one moment."""

    champions: Mapping[str, Version] = field(default_factory=dict)
    challengers: Mapping[str, Version] = field(default_factory=dict)
    exposures: Mapping[str, Exposure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """Who answers a request, and who answers it unseen."""

    version: Version
    arm: Arm
    """Versions that were asked for by number count as champions, unless they are on trial."""
    shadow: Version | None = None
    fallback: Version | None = None
    """The champion, where the challenger was drawn and may fail."""
    ticket: EvidenceTicket | None = None
    """What makes the answer evidence, where it was drawn who answers."""


class FleetVersions:
    """The map, kept up to date; to be asked from one event loop."""

    def __init__(
        self,
        aliases: Callable[[], Mapping[str, Mapping[str, Version]]],
        version_lookup: VersionLookup,
        exposures: Callable[[], Mapping[str, Exposure]],
        *,
        preload: Callable[[ArtifactRef], Awaitable[None]] | None = None,
        on_read: Callable[[Collection[str]], None] | None = None,
        on_tenant_removed: Callable[[str], None] | None = None,
    ) -> None:
        """Read nothing yet.

        `aliases` returns alias -> tenant -> version, `exposures` tenant -> its trial; both block, and may raise.
        `preload` loads an artifact into the engine before the first request
        needs it. `on_read` is called with the sha256s of all champions and challengers each time the aliases were
        read, `on_tenant_removed` with each tenant that has neither a champion nor a challenger any more.
        """
        self._aliases, self._version_lookup, self._exposures = aliases, version_lookup, exposures
        self._preload, self._on_read, self._on_tenant_removed = preload, on_read, on_tenant_removed
        self._refresh_lock = asyncio.Lock()
        self.snapshot = VersionSnapshot()
        self.read_errors: dict[str, str] = {}
        """What could not be read at the last look: registry, rollout; with the reason."""
        self.last_read_s: float | None = None
        """When the registry was last read, by the monotonic clock; None before the first time."""
        self.swap_count = 0
        """Champions and challengers that have changed since the start."""

    async def refresh(self) -> None:
        """Look now. What cannot be read stays as it was."""
        async with self._refresh_lock:
            aliases = await self._try_read("registry", self._aliases)
            exposures = await self._try_read("rollout", self._exposures)
            old = self.snapshot
            champions, challengers = old.champions, old.challengers
            if aliases is not None:
                champions, challengers = (select_servable(aliases.get(alias, {})) for alias in (CHAMPION, CHALLENGER))
                if self.last_read_s is not None:
                    changed = _find_changed(old.champions, champions) + _find_changed(old.challengers, challengers)
                    self.swap_count += len(changed)
                    await self._preload_changed(changed)
                self.last_read_s = time.monotonic()
            self.snapshot = VersionSnapshot(champions, challengers, old.exposures if exposures is None else exposures)
        for tenant in {*old.champions, *old.challengers} - {*self.snapshot.champions, *self.snapshot.challengers}:
            if self._on_tenant_removed is not None:
                self._on_tenant_removed(tenant)
        if self._on_read is not None and aliases is not None:
            self._on_read({version.sha256 for version in (*champions.values(), *challengers.values())})

    def has_tenant(self, tenant: str) -> bool:
        """Whether it has a champion or a challenger."""
        return tenant in self.snapshot.champions or tenant in self.snapshot.challengers

    async def run_forever(self, seconds: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)

    async def choose(self, tenant: str, selector: str, key: str | None) -> VersionChoice:
        """Choose the version that answers: `selector` is an alias, a version's number, or "" for the traffic split.

        Without a `key`, each request is drawn by itself.

        Raises:
            RefusalError: 404, no such version; 503, the registry has not been read yet.
        """
        now = self.snapshot
        champion, challenger = now.champions.get(tenant), now.challengers.get(tenant)
        if selector.isascii() and selector.isdigit():
            found = await self._version_lookup.find_version(tenant, selector, use_cached="registry" in self.read_errors)
            version = _require_version(found, tenant, f"version {selector}")
            return VersionChoice(version, CHALLENGER if challenger and challenger.version == selector else CHAMPION)
        if self.last_read_s is None:
            raise make_unavailable_error("to know the tenants' versions", "no answer from the registry yet")
        if selector == CHALLENGER:
            return VersionChoice(_require_version(challenger, tenant, selector), CHALLENGER)
        if selector not in ("", CHAMPION):
            raise make_not_found_error(f"{tenant}: no {selector[:40]}")
        exposure = now.exposures.get(tenant) if selector == "" else None
        stands = VersionChoice(_require_version(champion, tenant, CHAMPION), CHAMPION)
        if exposure is None or challenger is None or exposure.challenger != challenger.version:
            return stands
        drawn, ticket = assign_arm(tenant, key, exposure)
        if exposure.shadow:
            return replace(stands, shadow=challenger, ticket=ticket) if drawn == CHALLENGER else stands
        if drawn == CHAMPION:
            return replace(stands, ticket=ticket)
        return VersionChoice(challenger, CHALLENGER, fallback=champion, ticket=ticket)

    async def _preload_changed(self, changed: Iterable[Version | None]) -> None:
        """Bring what was swapped in near the base, if that is soon done; trouble is told to who asks for it."""
        wanted = [to_artifact_ref(version) for version in changed if version is not None][:_MAX_PRELOADS]
        if self._preload is not None and wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PRELOAD_SECONDS):
                    await asyncio.gather(*(self._preload(artifact) for artifact in wanted), return_exceptions=True)

    async def _try_read(self, what: str, read: Callable[[], _Result]) -> _Result | None:
        try:
            found = await asyncio.to_thread(read)
        except PrefixFleetError as problem:
            if what not in self.read_errors:
                logging.getLogger(LOGGER_NAME).warning("%s: the last known state stays: %s", what, problem)
            self.read_errors[what] = str(problem)
            return None
        if self.read_errors.pop(what, None) is not None:
            logging.getLogger(LOGGER_NAME).warning("%s: answers again", what)
        return found


def to_artifact_ref(version: Version) -> ArtifactRef:
    """What the engine needs of a registered version."""
    return ArtifactRef(version.tenant, version.version, version.sha256)


def _find_changed(old: Mapping[str, Version], new: Mapping[str, Version]) -> list[Version | None]:
    """The new versions of those tenants whose version has changed; None where one has none any more."""
    tenants = sorted({*old, *new})
    return [new.get(tenant) for tenant in tenants if _get_digest(old.get(tenant)) != _get_digest(new.get(tenant))]


def _get_digest(version: Version | None) -> str:
    return version.sha256 if version else ""


def _require_version(found: Version | None, tenant: str, which: str) -> Version:
    if found is None:
        raise make_not_found_error(f"{tenant}: no {which}")
    return found


def make_not_found_error(got: str = "none that is yours") -> RefusalError:
    """404, the same for what does not exist and for what is somebody else's."""
    return RefusalError(404, "a model that you may ask", got, "see GET /v1/models", code="model_not_found")
