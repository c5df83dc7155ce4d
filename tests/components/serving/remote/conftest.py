"""A remote engine over fake vLLM servers, on the tiny base and tenants of the engine's tests."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_vllm import FakeVllm, make_group

from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.remote.engine import RemoteEngine
from components.serving.remote.engine_store import EngineStore
from components.serving.remote.held_artifacts import RemoteArtifacts
from components.serving.remote.row_limits import RowLimits


@asynccontextmanager
async def _running(
    tenants: Any, folder: Path, servers: Sequence[FakeVllm], url: str = "", limits: tuple[int, int] = (100, 100)
) -> AsyncIterator[RemoteEngine]:
    group = make_group([one.url for one in servers], tenants.base.digest)
    await asyncio.to_thread(group.start, 60)
    base = copy.copy(tenants.base)
    cache = ArtifactCache(base, tenants.store, folder)
    engine = RemoteEngine(base, RemoteArtifacts(cache, EngineStore(folder, url), group), group, RowLimits(*limits))
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.drain(), 60)


@pytest.fixture
def running_remote(tmp_path: Path) -> Callable[..., Any]:
    """`async with running_remote(tenants, servers) as engine`; it is drained at the end."""
    return lambda tenants, servers, **options: _running(tenants, tmp_path / "verified", servers, **options)
