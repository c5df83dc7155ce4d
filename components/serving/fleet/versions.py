"""Choose the version that answers a request, from MLflow's champions and challengers and the trials' traffic split.

A refresh reads the aliases of all tenants into a snapshot. A request uses the snapshot at its start and keeps its
version to the end, so that no request changes its version midway. While MLflow or the database fails, the last snapshot
stays in use. Does not know HTTP; the functions that read the registry and the trials are passed in.
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
from components.serving.errors import LOGGER_NAME, make_unavailable_error
from components.serving.fleet.version_checks import (
    check_base,
    check_usable,
    is_on_other_base,
    make_not_found_error,
    require_version,
)
from components.serving.fleet.version_lookup import VersionLookup
from components.serving.interface import ArtifactRef
from components.serving.thread_pool import FairThreadPool

_MAX_PRELOADS = 64
_PRELOAD_SECONDS = 2.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """The versions of all tenants at one moment, each by tenant."""

    champions: Mapping[str, Version] = field(default_factory=dict)
    challengers: Mapping[str, Version] = field(default_factory=dict)
    exposures: Mapping[str, Exposure] = field(default_factory=dict)
    unusable: Mapping[str, Mapping[str, Version]] = field(default_factory=dict)
    """Alias -> tenant -> version that has the alias and cannot answer, for example one that was registered by hand."""

    @property
    def tenants(self) -> set[str]:
        """The tenants that have a champion or a challenger, usable or not."""
        return {*self.champions, *self.challengers}.union(*self.unusable.values())

    def check_usable(self, tenant: str, alias: str) -> None:
        """Raise RefusalError (503) if the tenant's version with this alias cannot answer."""
        check_usable(self.unusable.get(alias, {}).get(tenant))


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """The version that answers a request."""

    version: Version
    arm: Arm
    """A version that was requested by number counts as champion, unless it is the challenger."""
    shadow: Version | None = None
    """The challenger of a shadow trial, which answers too; its answer is not sent."""
    fallback: Version | None = None
    """The champion, which answers if the challenger cannot; None: the challenger was not chosen by the split."""
    ticket: EvidenceTicket | None = None
    """Makes the answer evidence for the trial; None: the version was not chosen by the split."""


class FleetVersions:
    """The snapshot of all tenants' versions, kept up to date; use it from one event loop."""

    def __init__(
        self,
        aliases: Callable[[], Mapping[str, Mapping[str, Version]]],
        version_lookup: VersionLookup,
        exposures: Callable[[], Mapping[str, Exposure]],
        *,
        preload: Callable[[ArtifactRef], Awaitable[None]] | None = None,
        on_read: Callable[[Collection[str]], None] | None = None,
        on_tenant_removed: Callable[[str], None] | None = None,
        get_base_digest: Callable[[], str] = str,
        interchangeable: Collection[str] = (),
    ) -> None:
        """Read nothing yet.

        `aliases` returns alias -> tenant -> version, `exposures` tenant -> its trial; both block, and may raise.
        `preload` loads an artifact into the engine before the first request
        needs it. `on_read` is called with the sha256s of all champions and challengers each time the aliases were
        read, `on_tenant_removed` with each tenant that has neither a champion nor a challenger any more.
        `get_base_digest` returns the digest of this server's base; "": it is not loaded yet. `interchangeable` are
        digests of other bases whose versions it answers with as well.
        """
        self._aliases, self._version_lookup, self._exposures = aliases, version_lookup, exposures
        self._preload, self._on_read, self._on_tenant_removed = preload, on_read, on_tenant_removed
        self._get_base_digest, self._interchangeable = get_base_digest, interchangeable
        self._refresh_lock = asyncio.Lock()
        self._pools = {name: FairThreadPool(f"reads of the {name}") for name in ("registry", "rollout")}
        self.snapshot = VersionSnapshot()
        self.read_errors: dict[str, str] = {}
        """"registry" or "rollout" -> why it could not be read at the last refresh."""
        self.last_read_s: float | None = None
        """When the registry was last read, by the monotonic clock; None: not yet."""
        self.swap_count = 0
        """How many champions and challengers have changed since the start."""

    async def refresh(self) -> None:
        """Read the aliases and trials now; what cannot be read stays as it was."""
        async with self._refresh_lock:
            aliases = await self._try_read("registry", self._aliases)
            exposures = await self._try_read("rollout", self._exposures)
            old = self.snapshot
            champions, challengers, unusable = old.champions, old.challengers, old.unusable
            if aliases is not None:
                champions, challengers = (select_usable(aliases.get(alias, {})) for alias in (CHAMPION, CHALLENGER))
                unusable = {alias: select_unusable(aliases.get(alias, {})) for alias in (CHAMPION, CHALLENGER)}
                _log_unusable(old.unusable, unusable)
                if self.last_read_s is not None:
                    changed = _find_changed(old.champions, champions) + _find_changed(old.challengers, challengers)
                    self.swap_count += len(changed)
                    await self._preload_changed(changed)
                self.last_read_s = time.monotonic()
            if exposures is None:
                exposures = old.exposures
            self.snapshot = VersionSnapshot(champions, challengers, exposures, unusable)
        for tenant in sorted(old.tenants - self.snapshot.tenants):
            log = logging.getLogger(LOGGER_NAME)
            log.warning("%s: no version has the alias champion or challenger any more; requests get 404", tenant)
            if self._on_tenant_removed is not None:
                self._on_tenant_removed(tenant)
        if self._on_read is not None and aliases is not None:
            self._on_read({version.sha256 for version in (*champions.values(), *challengers.values())})

    def has_tenant(self, tenant: str) -> bool:
        """Return whether the tenant has a champion or a challenger, which may be unusable."""
        return tenant in self.snapshot.tenants

    def is_on_other_base(self, version: Version) -> bool:
        """Return whether another server's base is the version's."""
        return is_on_other_base(version, self._get_base_digest(), self._interchangeable)

    async def run_forever(self, seconds: float) -> None:
        """Refresh every `seconds`, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)

    async def choose(self, tenant: str, selector: str, key: str | None) -> VersionChoice:
        """Choose the version that answers: `selector` is an alias, a version's number, or "" for the traffic split.

        Requests with the same `key` get the same arm of the split; None: a random arm.

        Raises:
            RefusalError: 404, no such version; 503, the version cannot answer or is on another base, or the registry
                has not been read yet.
        """
        snapshot = self.snapshot
        champion, challenger = snapshot.champions.get(tenant), snapshot.challengers.get(tenant)
        if selector.isascii() and selector.isdigit():
            use_cached = "registry" in self.read_errors
            numbered = await self._version_lookup.find_version(tenant, selector, use_cached=use_cached)
            version = require_version(numbered, tenant, f"version {selector}")
            check_usable(version)
            check_base(version, self._get_base_digest(), self._interchangeable)
            return VersionChoice(version, CHALLENGER if challenger and challenger.version == selector else CHAMPION)
        if self.last_read_s is None:
            raise make_unavailable_error("the tenants' versions", "no answer from the registry yet")
        if selector == CHALLENGER:
            snapshot.check_usable(tenant, CHALLENGER)
            version = require_version(challenger, tenant, selector)
            check_base(version, self._get_base_digest(), self._interchangeable)
            return VersionChoice(version, CHALLENGER)
        if selector not in ("", CHAMPION):
            raise make_not_found_error(f"{tenant}: no {selector[:40]}")
        exposure = snapshot.exposures.get(tenant) if selector == "" else None
        snapshot.check_usable(tenant, CHAMPION)
        choice = VersionChoice(require_version(champion, tenant, CHAMPION), CHAMPION)
        check_base(choice.version, self._get_base_digest(), self._interchangeable)
        if exposure is None or challenger is None or exposure.challenger != challenger.version:
            return choice
        if self.is_on_other_base(challenger):
            return choice
        arm, ticket = assign_arm(tenant, key, exposure)
        if exposure.shadow:
            return replace(choice, shadow=challenger, ticket=ticket) if arm == CHALLENGER else choice
        if arm == CHAMPION:
            return replace(choice, ticket=ticket)
        return VersionChoice(challenger, CHALLENGER, fallback=champion, ticket=ticket)

    async def _preload_changed(self, changed: Iterable[Version | None]) -> None:
        """Load the new versions, for at most 2 seconds; the first request that needs one raises its error again."""
        artifacts = [to_artifact_ref(version) for version in changed if version and not self.is_on_other_base(version)]
        artifacts = artifacts[:_MAX_PRELOADS]
        if self._preload is not None and artifacts:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PRELOAD_SECONDS):
                    await asyncio.gather(*(self._preload(artifact) for artifact in artifacts), return_exceptions=True)

    async def _try_read(self, name: str, read: Callable[[], _Result]) -> _Result | None:
        try:
            result = await self._pools[name].run(read)
        except PrefixFleetError as problem:
            if name not in self.read_errors:
                logging.getLogger(LOGGER_NAME).warning("%s: the last known state stays in use: %s", name, problem)
            self.read_errors[name] = str(problem)
            return None
        if self.read_errors.pop(name, None) is not None:
            logging.getLogger(LOGGER_NAME).warning("%s: answers again", name)
        return result


def select_usable(versions: Mapping[str, Version]) -> dict[str, Version]:
    """Return the versions that can answer, according to their tags."""
    return {tenant: version for tenant, version in versions.items() if not version.fault}


def select_unusable(versions: Mapping[str, Version]) -> dict[str, Version]:
    """Return the versions that cannot answer, according to their tags."""
    return {tenant: version for tenant, version in versions.items() if version.fault}


def to_artifact_ref(version: Version) -> ArtifactRef:
    """Return the reference by which the engine knows a registered version."""
    return ArtifactRef(version.tenant, version.version, version.sha256)


def _find_changed(old: Mapping[str, Version], new: Mapping[str, Version]) -> list[Version | None]:
    """Return the new version of each tenant whose version has changed; None: it has none any more."""
    tenants = sorted({*old, *new})
    return [new.get(tenant) for tenant in tenants if _get_digest(old.get(tenant)) != _get_digest(new.get(tenant))]


def _get_digest(version: Version | None) -> str:
    return version.sha256 if version else ""


def _log_unusable(old: Mapping[str, Mapping[str, Version]], new: Mapping[str, Mapping[str, Version]]) -> None:
    """Log each unusable version once, and once that its alias is on a usable version or gone."""
    log = logging.getLogger(LOGGER_NAME)
    for alias, versions in new.items():
        before = old.get(alias, {})
        for tenant, version in versions.items():
            if tenant not in before or before[tenant].version != version.version:
                log.warning("%s: %s version %s cannot answer: %s", tenant, alias, version.version, version.fault)
        for tenant in before.keys() - versions.keys():
            log.warning("%s: the %s that could not answer was replaced or removed", tenant, alias)
