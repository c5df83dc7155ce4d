import asyncio

import pytest
from fake_serving import FakeEngine, FakeRegistry

from components.errors import BaseModelError
from components.serving.background_engine import BackgroundEngine
from components.serving.interface import ArtifactRef

ARTIFACT = ArtifactRef("alder", "1", "0" * 64)


def test_before_it_is_loaded_there_is_no_health_and_preloading_and_draining_do_nothing():
    async def talk():
        engine = BackgroundEngine(lambda: pytest.fail("nothing loads it"))
        await engine.preload(ARTIFACT)
        await engine.drain()
        return engine.health()

    assert asyncio.run(talk()) is None


def test_once_it_is_loaded_waiting_ends_and_calls_reach_it():
    fake, preloaded = FakeEngine(FakeRegistry()), []

    async def preload(artifact):
        preloaded.append(artifact)

    fake.artifact_cache.preload = preload

    async def talk():
        engine = BackgroundEngine(lambda: fake)
        waiting = asyncio.create_task(engine.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        await engine.load()
        assert await waiting is await engine.wait() is fake
        await engine.preload(ARTIFACT)
        assert engine.health().ready

    asyncio.run(talk())
    assert preloaded == [ARTIFACT]


def test_an_error_of_loading_is_raised_and_waiting_goes_on():
    def fail():
        raise BaseModelError("a base", "none", "set base.path")

    async def talk():
        engine = BackgroundEngine(fail)
        waiting = asyncio.create_task(engine.wait())
        with pytest.raises(BaseModelError):
            await engine.load()
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(talk())
