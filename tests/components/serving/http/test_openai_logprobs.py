"""Offsets of tokens in answers of a real engine on a tiny base, whole and streamed."""

import asyncio
import json
from contextlib import closing

import httpx
import pytest

from components.rollout.store.database import open_database
from components.serving.http.app import build_app
from components.serving.http.build import build_service

pytestmark = pytest.mark.slow
HOT = {"model": "alder", "prompt": "thing: boat", "max_tokens": 20, "temperature": 2.0}


@pytest.fixture(scope="module")
def answer(mlflow_fleet):
    """A function of bodies to the answers' JSON, or to the chunks of those that stream; for all tests of this file."""
    workspace = mlflow_fleet.workspace
    with closing(open_database(workspace.params.registry, workspace.root)) as database:
        service = build_service(workspace, workspace.params, database, allows_anonymous=True)
        transport = httpx.ASGITransport(build_app(service))

        async def ask(bodies):
            await service.engine.load()
            await service.fleet.refresh()
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=600) as client:
                answers = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
            await service.engine.drain()
            return [
                read_events(one) if body.get("stream") else one.json()
                for body, one in zip(bodies, answers, strict=True)
            ]

        yield lambda bodies: asyncio.run(ask(bodies))


def read_events(answer):
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def check_offsets(text, logprobs):
    assert "".join(logprobs["tokens"]) == text
    assert len(logprobs["tokens"]) == len(logprobs["text_offset"]) == len(logprobs["token_logprobs"])
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert text[offset:].startswith(token)
        assert offset <= len(text)


def test_each_offset_is_where_its_token_begins_and_streams_agree(answer):
    settings = [{"seed": seed, "logprobs": seed % 3, "n": 1 + seed % 2} for seed in range(30)]
    settings += [{"seed": seed, "logprobs": 1, "stop": [stop]} for seed in range(10) for stop in (" ", "e", "a b")]
    bodies = [{**HOT, **one, "stream": stream} for one in settings for stream in (False, True)]
    answers = answer(bodies)
    for whole, chunks in zip(answers[::2], answers[1::2], strict=True):
        for choice in whole["choices"]:
            check_offsets(choice["text"], choice["logprobs"])
            pieces = [own for chunk in chunks for own in chunk["choices"] if own["index"] == choice["index"]]
            assert "".join(piece["text"] for piece in pieces) == choice["text"]
            for name in ("tokens", "text_offset"):
                assert [value for piece in pieces for value in piece["logprobs"][name]] == choice["logprobs"][name]
