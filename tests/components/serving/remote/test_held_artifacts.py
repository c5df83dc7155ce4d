"""Which artifacts go to which engines: LoRA artifacts only to those that have LoRA of their rank."""

import asyncio
from typing import Any

import pytest
import torch
from fake_vllm import run_fake_vllm

from components.config import TrainConfig
from components.model.base.load import Base
from components.model.delta import Delta, make_delta_from_tensors
from components.model.trainable_delta import TrainableDelta
from components.serving.errors import UnsupportedArtifactError
from components.serving.interface import GenerationRequest
from components.serving.routed_engine import RoutedEngine

CONFIGS = [
    TrainConfig.model_validate({"method": method, "prefix_length": 3, "lora_rank": rank, "lora_targets": targets})
    for method, rank, targets in (
        ("prefix", 8, None),
        ("lora", 2, None),
        ("lora", 4, None),
        ("prefix+lora", 2, None),
        ("infix", 8, None),
        ("lora", 2, ["q_proj", "lm_head"]),
        ("lora", 2, ["down_proj"]),
        ("lora", 4, ["down_proj"]),
    )
]


def _make_noisy(base: Base, config: TrainConfig) -> Delta:
    """A delta with noise, as the start of training of a LoRA changes nothing."""
    tensors = TrainableDelta(base, config, "a b c", None, (("ab", "it is a"),)).collapse().tensors
    torch.manual_seed(config.lora_rank)
    noisy = {name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in tensors.items()}
    return make_delta_from_tensors(config.method, noisy, config)


@pytest.fixture
def tenants(build_base: Any, make_tenants: Any) -> Any:
    """Tenants of a tiny Llama: a prefix, LoRA artifacts of ranks 2 and 4, and two other methods."""
    base = build_base("llama")
    return make_tenants(base, [_make_noisy(base, config) for config in CONFIGS], CONFIGS)


def _ask(tenants: Any, number: int, source: str) -> GenerationRequest:
    return GenerationRequest(tenants.artifacts[number], source, max_tokens=8)


def test_a_lora_is_answered_by_the_engines_that_have_lora_of_its_rank(
    tenants: Any, running_remote: Any, collect_pieces: Any, join_pieces: Any, sources: Any
) -> None:
    requests = [_ask(tenants, number, source) for number in (1, 2) for source in sources]
    expected = [tenants.answer_alone(one) for one in requests]

    async def serve() -> None:
        servers = [run_fake_vllm(tenants.base) for _ in range(3)]
        with servers[0] as none, servers[1] as small, servers[2] as large:
            small.max_lora_rank, large.max_lora_rank = 2, 8
            async with running_remote(tenants, [none, small, large]) as remote:
                while any(one.down_reason for one in remote.health().servers):
                    await asyncio.sleep(0.01)
                got = await asyncio.gather(*(collect_pieces(remote, one) for one in requests))
                assert [join_pieces(one) for one in got] == expected
                await remote.artifact_cache.preload(tenants.artifacts[2])
                assert {order["load"]["method"] for order in large.orders} == {"lora"}
        assert not none.bodies
        ranks = {tenants.artifacts[number].sha256: CONFIGS[number].lora_rank for number in (1, 2)}
        assert {ranks[body["cache_salt"]] for body in small.bodies} <= {2}
        assert {ranks[body["cache_salt"]] for body in large.bodies} >= {4}

    asyncio.run(serve())


@pytest.mark.parametrize(
    ("largest", "number", "words"),
    [
        (0, 1, r"version 1 of tenant-1, a LoRA of rank 2; got engines without LoRA; .*serve\.vllm\.max_lora_rank"),
        (2, 2, "a LoRA of rank 4; got engines with ranks up to 2"),
        (8, 3, "of another method"),
        (8, 4, "of another method"),
        (8, 5, "LoRA of layers in the base's blocks, as vLLM has it; got version 1 of tenant-5, which changes lm_head"),
        (8, 6, "no LoRA for down_proj"),
    ],
)
def test_an_artifact_without_an_engine_for_it_is_refused_by_name_and_answered_by_the_fallback(
    tenants: Any,
    running: Any,
    running_remote: Any,
    collect_pieces: Any,
    join_pieces: Any,
    sources: Any,
    largest: int,
    number: int,
    words: str,
) -> None:
    request = _ask(tenants, number, sources[0])
    expected = tenants.answer_alone(request)

    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            fake.max_lora_rank, fake.lora_layers = largest, {"q_proj", "v_proj"}
            async with running_remote(tenants, [fake]) as remote, running(tenants) as local:
                with pytest.raises(UnsupportedArtifactError, match=words):
                    await remote.submit([request])
                with pytest.raises(UnsupportedArtifactError, match=words):
                    await remote.artifact_cache.preload(request.artifact)
                pieces = await collect_pieces(RoutedEngine(remote, local), request)
                assert join_pieces(pieces) == expected
            assert not fake.bodies

    asyncio.run(serve())


def test_an_engine_is_asked_once_for_the_layers_of_all_loras(
    tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any
) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            fake.max_lora_rank, fake.lora_layers = 8, {"q_proj", "v_proj"}
            async with running_remote(tenants, [fake]) as remote:
                for number in (1, 2, 1):
                    await collect_pieces(remote, _ask(tenants, number, sources[0]))
                for number in (6, 7, 6):
                    with pytest.raises(UnsupportedArtifactError, match="no LoRA for down_proj"):
                        await remote.submit([_ask(tenants, number, sources[0])])
            loaded = [order["load"]["sha256"] for order in fake.orders]
            assert loaded == [tenants.artifacts[number].sha256 for number in (1, 6)]

    asyncio.run(serve())
