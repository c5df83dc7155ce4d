"""Queued requests of a shadow trial are dropped with their tenant."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from components.errors import ArtifactError
from components.registry.mlflow.versions import CHAMPION, Version
from components.serving.background_engine import BackgroundEngine
from components.serving.fleet.observation_buffer import make_failure_observation
from components.serving.fleet.shadow import ShadowQueue, ShadowRequest
from components.serving.interface import AnswerPiece, ArtifactRef, EngineHealth, GenerationRequest


class Answer:
    prompt_tokens, completion_tokens = 3, 0

    def __init__(self, engine):
        self._engine = engine

    async def __aiter__(self):
        await self._engine.may_go_on.wait()
        if self._engine.broken:
            raise ArtifactError("an artifact", "a damaged one", "restore it")
        yield AnswerPiece("x", (), "stop")

    def cancel(self):
        pass


class Engine:
    """Answers once `may_go_on` is set; `tenants` are those of its rows."""

    base_name = "tiny"

    def __init__(self, *, broken, busy):
        self.may_go_on, self.broken, self.queued, self.tenants = asyncio.Event(), broken, int(busy), []

    def health(self):
        return EngineHealth(True, 0, self.queued, 0, 0, 0)

    async def submit(self, requests):
        self.tenants += [request.artifact.tenant for request in requests]
        return [Answer(self) for _ in requests]


class FakeBuffer:
    """The tenants of the observations."""

    def __init__(self):
        self.tenants = []

    def add(self, observation):
        self.tenants.append(observation.tenant)


class Metrics:
    def __init__(self):
        self.shadows = Counter("shadows", "By fate.", ["fate"], registry=CollectorRegistry())


def make_request(tenant):
    request = GenerationRequest(ArtifactRef(tenant, "2", "x"), "a source")
    champion = make_failure_observation(Version(tenant, "1"), CHAMPION, 1)
    return ShadowRequest(Version(tenant, "2"), [request], ["y"], 10, champion, None)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("busy", [False, True])
def test_nothing_of_a_forgotten_tenant_is_answered_or_counted(busy, broken, caplog):
    async def talk():
        engine, buffer = Engine(broken=broken, busy=busy), FakeBuffer()
        background = BackgroundEngine(lambda: engine)
        await background.load()
        queue = ShadowQueue(background, buffer, Metrics(), 10)
        working = asyncio.create_task(queue.run_forever())
        for tenant in ("gone", "gone", "stays", "gone", "stays"):
            queue.enqueue(make_request(tenant))
        while not busy and not engine.tenants:
            await asyncio.sleep(0)
        queue.forget("gone")
        engine.queued = 0
        engine.may_go_on.set()
        async with asyncio.timeout(10):
            while len(buffer.tenants) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        working.cancel()
        return engine.tenants, buffer.tenants

    tenants, observed = asyncio.run(talk())
    assert tenants == ["gone"] * (not busy) + ["stays", "stays"]
    assert observed == ["stays", "stays"]
    assert "gone" not in caplog.text


def test_beyond_the_queues_size_the_tenant_with_most_requests_loses_its_newest():
    async def talk():
        queue = ShadowQueue(BackgroundEngine(lambda: None), FakeBuffer(), Metrics(), 4)
        for tenant in ("greedy", "greedy", "greedy", "greedy", "greedy", "modest", "greedy"):
            queue.enqueue(make_request(tenant))
        return [one.challenger.tenant for one in queue._take_queued()]

    assert asyncio.run(talk()) == ["greedy", "greedy", "greedy", "modest"]
