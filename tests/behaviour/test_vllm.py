"""Two real vLLM servers answer as the local engine does: 32 tenants of the built-in base.

Runs where PREFIXFLEET_TEST_VLLM names the Python of vLLM's environment, as `make test-vllm` does.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vllm_engine import MARKS, ArtifactFolder, VllmServers, answer, load_with_store

from components.config import BaseConfig
from components.config.serve import ServeConfig
from components.model.base.load import load_base
from components.model.prefix.initialization import make_random_prefix
from components.serving.engine import BatchEngine
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import GenerationRequest, TokenControls

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("product : Blue Kettle | price : 25 euros", "thing : red boat", "name : Loch Fyne | area : riverside")
pytestmark = MARKS


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The built-in base, and 32 tenants with prefixes of one to seven slots of the size of its own keys and values."""
    base = load_base(BaseConfig(path=str(PROJECT / "base"), dtype="float32"), device="cpu")
    store = ArtifactFolder(tmp_path_factory.mktemp("store"), base)
    artifacts = [
        store.add(
            f"tenant-{number}",
            make_random_prefix(base.shape, number % 7 + 1, number, scale=1.0),
            train={"prefix_length": number % 7 + 1},
        )
        for number in range(32)
    ]
    return SimpleNamespace(base=base, store=store, artifacts=artifacts)


def _list_requests(fleet: Any) -> list[GenerationRequest]:
    plain = [
        GenerationRequest(artifact, SOURCES[number % 3], max_tokens=16 + number % 5)
        for number, artifact in enumerate(fleet.artifacts)
    ]
    stopped = [replace(one, stop=("e",), controls=TokenControls(min_new_tokens=4)) for one in plain[:8]]
    controls = TokenControls(presence_penalty=0.5, frequency_penalty=0.3, logit_bias=((40, -5.0),))
    return plain + stopped + [replace(one, controls=controls, logprobs=2) for one in plain[8:16]]


def test_vllm_answers_as_the_local_engine_and_forgets_what_is_evicted(
    fleet: Any, vllm_servers: VllmServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _list_requests(fleet)

    async def answer_here() -> list[Any]:
        local = BatchEngine(fleet.base, ArtifactCache(fleet.base, fleet.store, tmp_path / "local"))
        try:
            return await asyncio.gather(*(answer(local, one) for one in requests))
        finally:
            await local.drain()

    expected = asyncio.run(answer_here())
    vllm_servers.wait_up()
    config = ServeConfig(engine="vllm", engines=list(vllm_servers.urls))

    async def answer_there() -> None:
        engine = await load_with_store(fleet.store, PROJECT / "base", tmp_path, monkeypatch, config)
        try:
            got = await asyncio.gather(*(answer(engine, one) for one in requests))
            assert [one[:2] for one in got] == [one[:2] for one in expected]
            for (_, _, ours), (_, _, theirs) in zip(expected, got, strict=True):
                assert theirs == pytest.approx(ours, abs=2e-3)
            values = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
            schema = json.dumps({**values, "additionalProperties": False})
            row = GenerationRequest(fleet.artifacts[0], SOURCES[0], controls=TokenControls(json_schema=schema))
            text, finish, _ = await answer(engine, row)
            assert json.loads(text)["a"] in (1, 2)
            assert finish == "stop"
            gone = fleet.artifacts[0].sha256
            await asyncio.to_thread(engine.artifact_cache.evict, [gone])
            held = await asyncio.to_thread(vllm_servers.list_artifacts, fleet.base.digest)
            assert set.union(*held) == {one.sha256 for one in fleet.artifacts} - {gone}
            assert not (tmp_path / "var" / "prefixes" / gone).exists()
        finally:
            await engine.drain()

    asyncio.run(answer_there())
