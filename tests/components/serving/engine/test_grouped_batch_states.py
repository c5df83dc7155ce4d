"""The server answers rows that start from states of their own as evaluation does, and counts the states' bytes."""

import asyncio
from dataclasses import replace
from typing import Any

import architectures
import pytest
from tiny_models import add_states

from components.config import TrainConfig
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import GenerationRequest


@pytest.fixture(params=architectures.INITIAL_STATES)
def tenants(request: pytest.FixtureRequest, build_base: Any, make_tenants: Any, make_prefix: Any) -> Any:
    """Five tenants: with slots and states, with one of both, and with neither."""
    base = build_base(request.param)
    slots = [make_prefix(base, length, length) for length in (3, 2, 0, 0, 5)]
    with_states = (True, False, True, False, True)
    pairs = enumerate(zip(slots, with_states, strict=True))
    deltas = [add_states(base.model, one, seed=number) if stateful else one for number, (one, stateful) in pairs]
    configs = [
        TrainConfig(prefix_length=one.length, initial_state=stateful)
        for one, stateful in zip(slots, with_states, strict=True)
    ]
    return make_tenants(base, deltas, configs)


def test_answers_are_those_of_rows_alone(tenants: Any, answer_all: Any, sources: tuple[str, ...]) -> None:
    plain = [
        GenerationRequest(artifact, source, max_tokens=4 + 2 * number)
        for number, source in enumerate(sources[:3])
        for artifact in tenants.artifacts
    ]
    requests = [*plain, *(replace(one, num_beams=2) for one in plain[:3]), replace(plain[0], guidance=1.7)]
    answers = answer_all(tenants, requests, rows=7, step_tokens=24)
    assert answers == [tenants.answer_alone(request) for request in requests]


def test_the_bytes_of_states_count_in_memory(tenants: Any, tmp_path: Any) -> None:
    cache = ArtifactCache(tenants.base, tenants.store, tmp_path / "cache")
    try:
        for artifact in tenants.artifacts:
            loaded = asyncio.run(cache.acquire(artifact))
            prefix = tenants.deltas[artifact.tenant].prefix
            assert loaded.size_bytes == 4 * prefix.parameter_count
            assert loaded.delta.prefix.states.keys() == prefix.states.keys()
        assert cache.counts[2] == sum(4 * delta.prefix.parameter_count for delta in tenants.deltas.values())
    finally:
        cache.close()
