"""Two engines as one: what the first cannot answer, the second does.

Knows the interface of engines; does not know what kinds these are.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from components.serving.device_time import add_seconds
from components.serving.errors import UnsupportedArtifactError, UnsupportedRequestError
from components.serving.interface import (
    AnswerStream,
    ArtifactRef,
    Engine,
    EngineHealth,
    GenerationRequest,
    HeldArtifacts,
)

_UNSUPPORTED = (UnsupportedArtifactError, UnsupportedRequestError)


class RoutedEngine:
    """See `components.serving.interface.Engine`. Both engines have the same base."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self._first, self._second = first, second
        self.base_name, self.base_digest = second.base_name, second.base_digest
        self.tool_call_form = second.tool_call_form
        self.artifact_cache = RoutedArtifacts(first.artifact_cache, second.artifact_cache)

    async def submit(self, requests: Sequence[GenerationRequest]) -> Sequence[AnswerStream]:
        """See `Engine.submit`."""
        try:
            return await self._first.submit(requests)
        except _UNSUPPORTED:
            return await self._second.submit(requests)

    def health(self) -> EngineHealth:
        """See `Engine.health`; ready if both are."""
        first, second = self._first.health(), self._second.health()
        return replace(
            second,
            ready=first.ready and second.ready,
            running=first.running + second.running,
            queued=first.queued + second.queued,
            artifact_store_error=first.artifact_store_error or second.artifact_store_error,
            servers=first.servers,
        )

    def take_device_seconds(self) -> Mapping[str, float]:
        """See `Engine.take_device_seconds`."""
        return add_seconds(self._first.take_device_seconds(), self._second.take_device_seconds())

    async def drain(self) -> None:
        """See `Engine.drain`."""
        await asyncio.gather(self._first.drain(), self._second.drain())


class RoutedArtifacts:
    """See `components.serving.interface.HeldArtifacts`: the artifacts of both engines."""

    def __init__(self, first: HeldArtifacts, second: HeldArtifacts) -> None:
        self._first, self._second = first, second

    @property
    def owners(self) -> Mapping[str, str]:
        """See `HeldArtifacts.owners`."""
        return {**self._first.owners, **self._second.owners}

    @property
    def resident(self) -> Mapping[str, str]:
        """See `HeldArtifacts.resident`."""
        return {**self._first.resident, **self._second.resident}

    @property
    def store_error(self) -> str:
        """See `HeldArtifacts.store_error`."""
        return self._first.store_error or self._second.store_error

    @property
    def load_errors(self) -> Mapping[str, str]:
        """See `HeldArtifacts.load_errors`."""
        return {**self._first.load_errors, **self._second.load_errors}

    async def preload(self, artifact: ArtifactRef) -> None:
        """See `HeldArtifacts.preload`; only the engine that will answer loads it."""
        try:
            await self._first.preload(artifact)
        except UnsupportedArtifactError:
            await self._second.preload(artifact)

    def evict(self, sha256s: Iterable[str]) -> None:
        """See `HeldArtifacts.evict`."""
        names = list(sha256s)
        self._first.evict(names)
        self._second.evict(names)

    async def retry_failed_fetch(self) -> None:
        """See `HeldArtifacts.retry_failed_fetch`."""
        await self._first.retry_failed_fetch()
        await self._second.retry_failed_fetch()
