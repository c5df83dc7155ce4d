"""The engine of a server, which is loaded in the background while the server already answers /healthz.

Every part that needs the engine gets this handle at construction. Knows the `Engine` protocol; does not know how an
engine is built.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from components.serving.errors import LOGGER_NAME
from components.serving.interface import ArtifactRef, Engine, EngineHealth
from components.serving.thread_pool import FairThreadPool


class BackgroundEngine:
    """One engine that is loaded once; use it from one event loop."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        """`load` returns the running engine; it blocks, and may raise."""
        self._load = load
        self._loaded = asyncio.Event()
        self._pool = FairThreadPool("loading of the base")
        self.engine: Engine | None = None
        """None until it is loaded."""

    async def load(self) -> None:
        """Load the engine in a thread. Raises what the load function raises."""
        started_s = time.monotonic()
        self.engine = await self._pool.run(self._load)
        seconds = time.monotonic() - started_s
        logging.getLogger(LOGGER_NAME).info("base %s is loaded (%.1f s): ready", self.engine.base_name, seconds)
        self._loaded.set()

    async def wait(self) -> Engine:
        """Wait until the engine is loaded, and return it."""
        while self.engine is None:
            await self._loaded.wait()
        return self.engine

    def health(self) -> EngineHealth | None:
        """Return the engine's health, or None until it is loaded."""
        return None if self.engine is None else self.engine.health()

    def take_device_seconds(self) -> Mapping[str, float]:
        """See `Engine.take_device_seconds`; none until the engine is loaded."""
        return {} if self.engine is None else self.engine.take_device_seconds()

    @property
    def load_errors(self) -> Mapping[str, str]:
        """The sha256 of each artifact that could not be loaded, and why; none until the engine is loaded."""
        return {} if self.engine is None else self.engine.artifact_cache.load_errors

    @property
    def resident_artifacts(self) -> Mapping[str, str]:
        """The sha256 of each artifact in memory, and its tenant; none until the engine is loaded."""
        return {} if self.engine is None else self.engine.artifact_cache.resident

    async def preload(self, artifact: ArtifactRef) -> None:
        """Load an artifact before a request needs it; do nothing until the engine is loaded.

        Raises what `Engine.submit` raises.
        """
        if self.engine is not None:
            await self.engine.artifact_cache.preload(artifact)

    async def drain(self) -> None:
        """Finish the requests in flight and stop, if the engine is loaded."""
        if self.engine is not None:
            await self.engine.drain()
