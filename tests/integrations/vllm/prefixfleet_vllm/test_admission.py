import asyncio
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from prefixfleet_vllm.admission import AdmissionCheck

SHA256 = "a" * 64
BODY = {
    "model": "m",
    "prompt": [7, 7, 9],
    "cache_salt": SHA256,
    "kv_transfer_params": {"prefixfleet": {"sha256": SHA256, "tenant": "acme", "length": 2}},
}


@pytest.fixture(params=[False, True], ids=["prefixes only", "also the base"])
def serve_base(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def client(serve_base: bool) -> httpx.AsyncClient:
    app = FastAPI()
    config = {"stores": ["/x"], "serve_base": serve_base}
    transfer = SimpleNamespace(kv_connector_extra_config=config)
    app.state.vllm_config = SimpleNamespace(kv_transfer_config=transfer)

    @app.post("/v1/completions")
    @app.post("/v1/chat/completions")
    async def echo(request: Request) -> dict[str, Any]:
        return {"body": (await request.body()).decode()}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {}

    app.add_middleware(AdmissionCheck)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


async def post(client: httpx.AsyncClient, body: Any, path: str = "/v1/completions") -> httpx.Response:
    return await client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))


@pytest.mark.parametrize("prompt", [[7, 7, 9], [[7, 7, 9], [7, 7, 8]]])
def test_a_right_request_passes_whole(client: httpx.AsyncClient, prompt: Any) -> None:
    body = json.dumps({**BODY, "prompt": prompt})
    answer = asyncio.run(post(client, body.encode()))
    assert (answer.status_code, answer.json()) == (200, {"body": body})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prompt": [7, 7]}, "2 tokens"),
        ({"prompt": [[7, 7, 9], [7, 7]]}, "2 tokens"),
        ({"prompt": "text"}, "a prompt of text"),
        ({"prompt": ["text"]}, "a prompt of text"),
        ({"cache_salt": None}, "no cache_salt"),
        ({"cache_salt": "other"}, "another cache_salt"),
        ({"prompt_logprobs": 0}, "prompt_logprobs"),
        ({"echo": True}, "echo"),
        ({"use_beam_search": True}, "beams"),
        ({"truncate_prompt_tokens": 2}, "cut placeholders"),
        ({"kv_transfer_params": {"prefixfleet": {"sha256": SHA256}}}, "no prefixfleet.tenant"),
        ({"kv_transfer_params": {"prefixfleet": {"drop": []}}}, "drop"),
    ],
)
def test_a_wrong_request_gets_400(client: httpx.AsyncClient, changes: dict[str, Any], text: str) -> None:
    answer = asyncio.run(post(client, {**BODY, **changes}))
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_a_request_for_the_base_passes_if_it_is_served(client: httpx.AsyncClient, serve_base: bool) -> None:
    answer = asyncio.run(post(client, {"model": "m", "prompt": "text"}))
    assert answer.status_code == (200 if serve_base else 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"kv_transfer_params": 1}'])
def test_what_vllm_itself_refuses_is_left_to_it(client: httpx.AsyncClient, body: bytes) -> None:
    assert asyncio.run(post(client, body)).status_code == 200


def test_other_paths_take_no_post(client: httpx.AsyncClient) -> None:
    async def ask() -> list[int]:
        chat = await post(client, BODY, "/v1/chat/completions")
        return [chat.status_code, (await client.get("/health")).status_code]

    assert asyncio.run(ask()) == [404, 200]
