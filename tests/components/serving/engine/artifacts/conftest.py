"""An artifact cache on a tiny base, in front of the store of the engine's tests."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.model.base.load import Base
from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits
from components.serving.interface import ArtifactRef


@pytest.fixture
def store(make_store: Any, base: Base) -> Any:
    return make_store(base)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache keeps its files."""
    return tmp_path / "cache"


@pytest.fixture
def open_cache(store: Any, base: Base, folder: Path) -> Callable[..., Any]:
    """`with open_cache(device=1000) as cache`; limits in bytes. Opened again, it has the same files."""

    @contextmanager
    def open_cache(**limits: int) -> Iterator[ArtifactCache]:
        cache = ArtifactCache(base, store, folder, ArtifactMemoryLimits(**limits))
        yield cache
        cache.close()

    return open_cache


def _acquire_all(cache: ArtifactCache, *artifacts: ArtifactRef, release: bool = True) -> list[Any]:
    async def acquire() -> list[Any]:
        return await asyncio.gather(*map(cache.acquire, artifacts), return_exceptions=True)

    results = asyncio.run(acquire())
    for artifact, result in zip(artifacts, results, strict=True):
        if release and not isinstance(result, BaseException):
            cache.release(artifact)
    return results


@pytest.fixture
def acquire_all() -> Callable[..., list[Any]]:
    """A function of a cache and artifacts to each artifact, or its error; acquired at once, and released."""
    return _acquire_all


@pytest.fixture
def add_tenants(store: Any, make_prefix: Any) -> Callable[..., list[ArtifactRef]]:
    """A function of a number and a length to as many tenants' artifacts in the store, each of other content."""

    def add(count: int, length: int = 2) -> list[ArtifactRef]:
        return [store.add(f"tenant-{number}", make_prefix(store.base, length, number)) for number in range(count)]

    return add
