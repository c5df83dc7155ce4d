"""The key and the quota are checked before the body is read, and a refused request uses the quota."""

import json

import pytest
from api_routes import list_endpoints

from components.serving.http.app import build_app

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


OPEN = {
    "viewer": {("GET", "/v1/models"), ("GET", "/v1/models/{model}"), ("GET", "/v1/usage"), ("GET", "/metrics")},
    "operator": {
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{model}"),
        ("GET", "/v1/usage"),
        ("GET", "/metrics"),
        ("POST", "/admin/refresh"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/feedback"),
    },
}


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_a_role_may_call_its_endpoints_and_no_other(ask, role):
    """Asked of every endpoint of the application that needs a key, so that a new one is closed until it is named."""

    async def talk(client, service):
        _, key = service.keys.create(None, role=role)
        header = {**JSON, "authorization": f"Bearer {key}"}
        statuses = {}
        for route in list_endpoints(build_app(service)):
            path = route.path.replace("{model}", "alder").replace("{file_id}", "x").replace("{job_id}", "x")
            for method in route.methods:
                if path.startswith(("/v1/", "/admin", "/metrics")):
                    answer = await client.request(method, path, headers=header, content=b"{}")
                    statuses[method, route.path] = answer.status_code
        body = {"model": "alder", "prompt": "thing: boat"}
        return statuses, await client.post("/v1/completions", json=body, headers=header)

    statuses, answer = ask(talk, is_open=False)
    assert len(statuses) > 12
    assert {route for route, status in statuses.items() if status != 403} == OPEN[role]
    assert answer.status_code == (200 if role == "operator" else 403)
    assert "completion" in answer.text if role == "operator" else "the role viewer" in answer.text
