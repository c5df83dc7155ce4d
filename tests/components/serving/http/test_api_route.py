"""The key and the quota are checked before the body is read, and a refused request uses the quota."""

import json

import pytest

JSON = {"content-type": "application/json"}


@pytest.fixture
def with_key(ask):
    """Run an async function of (client, service, header of alder's key) on a server with keys."""

    def run(talk):
        async def with_header(client, service):
            _, key = service.keys.create("alder")
            return await talk(client, service, {**JSON, "authorization": f"Bearer {key}"})

        return ask(with_header, is_open=False)

    return run


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/feedback"])
def test_without_a_key_no_body_is_read(ask, path):
    async def talk(client, _service):
        return await client.post(path, content=b"{" * 1000, headers={**JSON, "authorization": "Bearer x"})

    assert ask(talk, is_open=False).status_code == 401


def test_a_refused_request_uses_the_quota_and_beyond_it_no_body_is_read(with_key, fleet):
    fleet.set_params(access={"requests_per_minute": 3})

    async def talk(client, _service, header):
        bodies = [b'{"model":', json.dumps({"model": "birch", "prompt": "x"}).encode(), b"[1]"]
        statuses = [(await client.post("/v1/completions", content=body, headers=header)).status_code for body in bodies]
        last = await client.post("/v1/completions", content=b'{"model":', headers=header)
        return statuses, last.status_code, last.json()["error"]["code"]

    assert with_key(talk) == ([400, 404, 400], 429, "quota")


def test_an_answered_request_is_counted_once(with_key, fleet):
    fleet.set_params(access={"requests_per_minute": 2})

    async def talk(client, _service, header):
        body = {"model": "alder", "prompt": "thing: boat"}
        return [(await client.post("/v1/completions", json=body, headers=header)).status_code for _ in range(3)]

    assert with_key(talk) == [200, 200, 429]


def test_the_requests_of_an_admin_count_for_the_tenant_that_they_name(ask, fleet):
    fleet.set_params(access={"requests_per_minute": 2})

    async def talk(client, _service):
        body = {"model": "alder", "prompt": "thing: boat"}
        return [(await client.post("/v1/completions", json=body)).status_code for _ in range(3)]

    assert ask(talk) == [200, 200, 429]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "alder", "prompt": None, "input": {"a": [{}] * 3000}},
        {"model": "alder", "prompt": [1] * 3000},
        {"model": "alder", "input": {str(number): {} for number in range(3000)}},
        {"model": "alder", "prompt": "x", **{f"x{number}": 1 for number in range(3000)}},
        {"model": "alder", "prompt": "x", "x" * 500_000: 1},
        {"model": "alder", "prompt": "x", "logit_bias": {str(number): "" for number in range(3000)}},
        {"model": "alder", "input": {"x" * 100_000: [1] * 3000}},
        {"model": "x" * 500_000, "prompt": "x"},
        {"model": "alder", "prompt": "x", "user": "x" * 500_000},
    ],
)
def test_the_message_of_a_refusal_is_short_however_large_the_body(ask, body):
    async def talk(client, _service):
        return await client.post("/v1/completions", json=body)

    answer = ask(talk)
    assert answer.status_code == 400
    assert len(answer.content) < 4_000


def test_other_content_than_json_is_refused(ask):
    async def talk(client, _service):
        return await client.post("/v1/completions", content=b'{"model": "alder"}', headers={"content-type": "text/csv"})

    answer = ask(talk)
    assert answer.status_code == 400
    assert "send an object, with content-type: application/json" in answer.json()["error"]["message"]
