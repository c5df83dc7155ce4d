"""A real vLLM with LoRA answers LoRA artifacts and prefixes in one batch as the local engine does, on a tiny Qwen2.

Runs where PREFIXFLEET_TEST_VLLM names the Python of vLLM's environment, as `make test-vllm` does.
"""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm_engine import MARKS, OPTIONS, PYTHON, ArtifactFolder, answer, load_with_store

from components.config import BaseConfig, TrainConfig
from components.config.serve import ServeConfig, VllmConfig
from components.model.base.load import load_base
from components.model.delta import Delta, make_delta_from_tensors
from components.model.prefix.initialization import make_random_prefix
from components.model.trainable_delta import TrainableDelta
from components.serving.engine import BatchEngine
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.errors import UnsupportedArtifactError
from components.serving.interface import GenerationRequest, TokenControls

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("product : Blue Kettle | price : 25 euros", "thing : red boat", "name : Loch Fyne | area : riverside")
VLLM = VllmConfig(python=PYTHON, options=OPTIONS, max_lora_rank=8, max_loras=16)
TARGETS = (None, ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"], ["v_proj", "o_proj"])
pytestmark = MARKS


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Qwen2 of random weights and biases with the built-in base's tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("qwen2")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(PROJECT / "base" / name, folder / name)
    return folder


def _make_lora(base: Any, config: TrainConfig) -> Delta:
    """A LoRA with noise, as the start of training changes nothing."""
    tensors = TrainableDelta(base, config, "a b c", None, ()).collapse().tensors
    generator = torch.Generator().manual_seed(config.seed)
    noisy = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        for name, tensor in tensors.items()
    }
    return make_delta_from_tensors(config.method, noisy, config)


@pytest.fixture(scope="module")
def fleet(qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Eight tenants with LoRA artifacts of ranks 1 to 8 on different layers, then four with prefixes."""
    base = load_base(BaseConfig(path=str(qwen2), dtype="float32"), device="cpu")
    store, artifacts = ArtifactFolder(tmp_path_factory.mktemp("store"), base), []
    for number in range(8):
        values = {"method": "lora", "lora_rank": number + 1, "lora_targets": TARGETS[number % 4], "seed": number}
        config = TrainConfig.model_validate(values)
        train = config.model_dump(mode="json")
        artifacts.append(store.add(f"lora-{number}", _make_lora(base, config), method="lora", train=train))
    for number in range(4):
        prefix = make_random_prefix(base.shape, number + 1, number, scale=1.0)
        artifacts.append(store.add(f"prefix-{number}", prefix, train={"prefix_length": number + 1}))
    return SimpleNamespace(base=base, store=store, artifacts=artifacts, path=qwen2)


def _list_requests(fleet: Any) -> list[GenerationRequest]:
    plain = [
        GenerationRequest(one, SOURCES[number % 3], max_tokens=16 + number)
        for number, one in enumerate(fleet.artifacts)
    ]
    stopped = [replace(one, stop=("e", "a"), controls=TokenControls(min_new_tokens=3)) for one in plain]
    controls = TokenControls(presence_penalty=0.5, frequency_penalty=0.3, logit_bias=((40, -5.0),))
    return plain + stopped + [replace(one, controls=controls, logprobs=2) for one in plain]


async def _answer_several(engine: Any, requests: list[GenerationRequest]) -> list[str]:
    streams = await engine.submit(requests)
    return ["".join([piece.text async for piece in stream]) for stream in streams]


def test_loras_and_prefixes_in_one_batch_get_the_local_engines_answers_and_are_forgotten(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _list_requests(fleet)
    sampled = [GenerationRequest(fleet.artifacts[0], SOURCES[0], max_tokens=8, sample_index=index) for index in (0, 1)]

    async def answer_here() -> tuple[list[Any], list[str]]:
        local = BatchEngine(fleet.base, ArtifactCache(fleet.base, fleet.store, tmp_path / "local"))
        try:
            one_by_one = await asyncio.gather(*(answer(local, one) for one in requests))
            return one_by_one, await _answer_several(local, sampled)
        finally:
            await local.drain()

    expected, several = asyncio.run(answer_here())
    assert len({text for text, _, _ in expected[:12]}) == 12

    async def answer_there() -> None:
        config = ServeConfig(engine="vllm", vllm=VLLM)
        engine = await load_with_store(fleet.store, fleet.path, tmp_path, monkeypatch, config)
        try:
            got = await asyncio.gather(*(answer(engine, one) for one in requests))
            assert [one[:2] for one in got] == [one[:2] for one in expected]
            for (_, _, ours), (_, _, theirs) in zip(expected, got, strict=True):
                assert theirs == pytest.approx(ours, abs=2e-3)
            assert await _answer_several(engine, sampled) == several
            gone = fleet.artifacts[0].sha256
            await asyncio.to_thread(engine.artifact_cache.evict, [gone])
            (client,) = engine._servers._clients.values()
            held = await asyncio.to_thread(client.read_status)
            assert gone not in held["artifacts"]
            assert len(held["artifacts"]) == 11
            assert not (tmp_path / "var" / "prefixes" / gone).exists()
            await _refuse_a_larger_rank(fleet, engine)
        finally:
            await engine.drain()

    asyncio.run(answer_there())


async def _refuse_a_larger_rank(fleet: Any, engine: Any) -> None:
    config = TrainConfig.model_validate({"method": "lora", "lora_rank": 9})
    train = config.model_dump(mode="json")
    large = fleet.store.add("large", _make_lora(fleet.base, config), method="lora", train=train)
    with pytest.raises(UnsupportedArtifactError, match="a LoRA of rank 9; got engines with ranks up to 8"):
        await engine.submit([GenerationRequest(large, SOURCES[0])])
