"""What the first of two engines cannot answer, the second does; all else is the first's."""

import asyncio
from typing import Any

import pytest

from components.errors import ArtifactError, DataError
from components.serving.errors import UnsupportedArtifactError, UnsupportedRequestError
from components.serving.interface import ArtifactRef, EngineHealth, EngineServer, GenerationRequest
from components.serving.routed_engine import RoutedEngine

ARTIFACT = ArtifactRef("acme", "1", "a" * 64)
REQUEST = GenerationRequest(ARTIFACT, "a source")
BEATS = ("one", "another", "change it")


class Artifacts:
    """Artifacts of one engine; `problem` is raised by each load."""

    def __init__(self, name: str, problem: Exception | None = None) -> None:
        self.owners = self.resident = self.load_errors = {name: "acme"}
        self.store_error = name
        self.problem = problem
        self.calls: list[Any] = []

    async def preload(self, artifact: ArtifactRef) -> None:
        if self.problem:
            raise self.problem
        self.calls.append(artifact)

    def evict(self, sha256s: Any) -> None:
        self.calls.append(list(sha256s))

    async def retry_failed_fetch(self) -> None:
        self.calls.append("retry")


class OneEngine:
    """Answers with its name, or raises."""

    base_name, base_digest, tool_call_form = "tiny", "b" * 64, None

    def __init__(self, name: str, problem: Exception | None = None, **health: Any) -> None:
        self.name, self.problem, self.is_drained = name, problem, False
        self.artifact_cache = Artifacts(name, problem)
        self._health = {"ready": True, "running": 1, "queued": 2, **health}

    async def submit(self, _: Any) -> Any:
        if self.problem:
            raise self.problem
        return [self.name]

    def health(self) -> EngineHealth:
        return EngineHealth(device_artifacts=3, host_artifacts=4, device_artifact_bytes=5, **self._health)

    def take_device_seconds(self) -> dict[str, float]:
        return {self.name: 1.0, "both": 1.0}

    async def drain(self) -> None:
        self.is_drained = True


def make(problem: Exception | None, **health: Any) -> tuple[OneEngine, OneEngine, RoutedEngine]:
    first, second = OneEngine("first", problem, **health), OneEngine("second")
    return first, second, RoutedEngine(first, second)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("problem", "answers"),
    [
        (None, "first"),
        (UnsupportedRequestError(*BEATS), "second"),
        (UnsupportedArtifactError(*BEATS), "second"),
    ],
)
def test_the_second_answers_what_the_first_cannot(problem: Any, answers: str) -> None:
    first, second, both = make(problem)
    assert asyncio.run(both.submit([REQUEST])) == [answers]
    if not isinstance(problem, UnsupportedRequestError):
        asyncio.run(both.artifact_cache.preload(ARTIFACT))
        assert (ARTIFACT in first.artifact_cache.calls) is (problem is None)
        assert (ARTIFACT in second.artifact_cache.calls) is (problem is not None)


@pytest.mark.parametrize("kind", [ArtifactError, DataError])
def test_an_error_that_the_second_would_have_too_is_the_answer(kind: Any) -> None:
    _, _, both = make(kind(*BEATS))
    with pytest.raises(kind):
        asyncio.run(both.submit([REQUEST]))


def test_health_and_artifacts_are_those_of_both() -> None:
    servers = (EngineServer("http://one", "", 1),)
    first, second, both = make(None, servers=servers)
    assert both.health() == EngineHealth(True, 2, 4, 3, 4, 5, servers=servers)
    assert not make(None, ready=False)[2].health().ready
    cache = both.artifact_cache
    assert cache.owners == cache.resident == cache.load_errors == {"first": "acme", "second": "acme"}
    assert cache.store_error == "first"
    cache.evict(iter(["x"]))
    asyncio.run(cache.retry_failed_fetch())
    assert first.artifact_cache.calls == second.artifact_cache.calls == [["x"], "retry"]
    asyncio.run(both.drain())
    assert first.is_drained
    assert second.is_drained


def test_device_time_of_both_engines_is_added_by_tenant() -> None:
    _, _, engine = make(None)
    assert engine.take_device_seconds() == {"first": 1.0, "second": 1.0, "both": 2.0}
