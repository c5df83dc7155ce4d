"""A real vLLM server, started by the remote engine, answers as the local engine does: 32 tenants of the built-in base.

Runs where PREFIXFLEET_TEST_VLLM names the Python of vLLM's environment, as `make test-vllm` does.
"""

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import find_free_port
from vllm_engine import MARKS, OPTIONS, PYTHON, ArtifactFolder, answer, load_with_store
from waiting import wait_until

from components.config import BaseConfig
from components.config.serve import ServeConfig, VllmConfig
from components.model.base.load import load_base
from components.model.prefix.initialization import make_random_prefix
from components.serving.engine import BatchEngine
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import GenerationRequest, TokenControls
from components.serving.remote.vllm_process import VllmProcess, make_command

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("product : Blue Kettle | price : 25 euros", "thing : red boat", "name : Loch Fyne | area : riverside")
VLLM = VllmConfig(python=PYTHON, options=OPTIONS)
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


async def _load(fleet: Any, root: Path, monkeypatch: pytest.MonkeyPatch, config: ServeConfig) -> Any:
    return await load_with_store(fleet.store, PROJECT / "base", root, monkeypatch, config)


def _list_requests(fleet: Any) -> list[GenerationRequest]:
    plain = [
        GenerationRequest(artifact, SOURCES[number % 3], max_tokens=16 + number % 5)
        for number, artifact in enumerate(fleet.artifacts)
    ]
    stopped = [replace(one, stop=("e",), controls=TokenControls(min_new_tokens=4)) for one in plain[:8]]
    controls = TokenControls(presence_penalty=0.5, frequency_penalty=0.3, logit_bias=((40, -5.0),))
    return plain + stopped + [replace(one, controls=controls, logprobs=2) for one in plain[8:16]]


def test_vllm_answers_as_the_local_engine_and_forgets_what_is_evicted(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _list_requests(fleet)

    async def answer_here() -> list[Any]:
        local = BatchEngine(fleet.base, ArtifactCache(fleet.base, fleet.store, tmp_path / "local"))
        try:
            return await asyncio.gather(*(answer(local, one) for one in requests))
        finally:
            await local.drain()

    expected = asyncio.run(answer_here())
    config = ServeConfig(engine="vllm", vllm=VLLM)

    async def answer_there() -> None:
        engine = await _load(fleet, tmp_path, monkeypatch, config)
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
            (client,) = engine._servers._clients.values()
            held = await asyncio.to_thread(client.read_status)
            assert gone not in held["artifacts"]
            assert len(held["artifacts"]) == 31
            assert not (tmp_path / "var" / "prefixes" / gone).exists()
        finally:
            await engine.drain()

    asyncio.run(answer_there())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_answers_go_on_when_one_of_two_vllm_servers_ends(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    long = TokenControls(min_new_tokens=100)
    requests = [
        GenerationRequest(one, SOURCES[0], max_tokens=100, controls=long, logprobs=1) for one in fleet.artifacts[:16]
    ]

    async def serve(ports: list[int], processes: list[VllmProcess]) -> None:
        config = ServeConfig(engine="vllm", engines=[f"http://127.0.0.1:{port}" for port in ports], vllm=VLLM)
        engine = await _load(fleet, tmp_path, monkeypatch, config)
        try:
            await asyncio.to_thread(wait_until, lambda: _count_up(engine) == 2, "both servers")
            expected = await asyncio.gather(*(answer(engine, one) for one in requests))
            going = [asyncio.ensure_future(answer(engine, one)) for one in requests]
            await asyncio.to_thread(wait_until, lambda: _is_divided(engine), "rows in both servers")
            await asyncio.sleep(1)
            assert not all(one.done() for one in going)
            processes[0]._stopping.set()
            os.kill(processes[0]._process.pid, number)
            for (text, finish, theirs), (wanted, as_before, ours) in zip(
                await asyncio.gather(*going), expected, strict=True
            ):
                assert (text, finish) == (wanted, as_before)
                assert theirs == pytest.approx(ours, abs=2e-3)
            assert _count_up(engine) == 1
        finally:
            await engine.drain()

    ports = [find_free_port() for _ in range(2)]
    folder = (tmp_path / "var" / "prefixes").as_uri()
    commands = [make_command(VLLM, Path(PYTHON), PROJECT / "base", port, folder) for port in ports]
    processes = [VllmProcess(one, tmp_path / f"{port}.log") for one, port in zip(commands, ports, strict=True)]
    for one in processes:
        one.start()
    try:
        asyncio.run(serve(ports, processes))
    finally:
        for one in processes:
            one.stop()


def _count_up(engine: Any) -> int:
    return sum(not one.down_reason for one in engine.health().servers)


def _is_divided(engine: Any) -> bool:
    return all(one.in_flight for one in engine.health().servers)
