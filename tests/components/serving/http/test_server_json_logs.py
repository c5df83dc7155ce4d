"""The server's log as JSON: one object a line, with what is known of the request, and without callers' texts."""

import io
import json
import logging

import httpx
import pytest
from waiting import wait_until

from components.logs import JsonFormatter

SECRET = "zanzibar"


@pytest.fixture
def lines():
    """What the server has logged in this process, as JSON."""
    stream, logger = io.StringIO(), logging.getLogger("prefixfleet.serving")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_the_line_of_a_request_is_one_object(ask, lines):
    async def talk(client, _service):
        body = {"model": "alder", "prompt": f"a {SECRET}", "max_tokens": 2}
        return await client.post("/v1/completions", json=body, headers={"x-request-id": "r-1"})

    answer = ask(talk)
    (line,) = [line for line in lines() if line["message"] == "request"]
    assert (
        line.items() >= {"request": "r-1", "tenant": "alder", "version": "1", "arm": "champion", "status": 200}.items()
    )
    assert line["completion"] == answer.json()["id"]
    assert "prompts" not in line


def test_an_internal_error_names_the_request_but_not_its_text(ask, fleet, lines):
    fleet.engine.row_error = ValueError(f"cannot read {SECRET}")

    async def talk(client, _service):
        return await client.post("/v1/completions", json={"model": "alder", "prompt": SECRET})

    answer = ask(talk)
    assert answer.status_code == 500
    (error,) = [line for line in lines() if line["level"] == "ERROR"]
    assert (error["tenant"], error["version"], error["request"]) == ("alder", "1", answer.headers["x-request-id"])
    assert error["exception"][0]["type"] == "builtins.ValueError"
    assert any("fake_serving.py" in frame for frame in error["exception"][0]["trace"])
    assert SECRET not in json.dumps(lines())


@pytest.mark.slow
def test_a_server_s_log_is_json_and_has_a_caller_s_text_only_where_the_tenant_permits_it(
    mlflow_fleet, start_server, set_params
):
    root = mlflow_fleet.workspace.root
    set_params(root, tenants={"birch": {"access": {"log_texts": True}}})
    server = start_server(root, environment={"PREFIXFLEET_LOG_FORMAT": "json"})
    server.wait_ready()
    with httpx.Client(base_url=f"{server.url}/v1") as client:
        texts = {"alder": SECRET, "birch": "open-text"}
        for model, text in texts.items():
            answer = client.post("/completions", json={"model": model, "prompt": text, "max_tokens": 3})
            assert answer.status_code == 200, answer.text
            feedback = {"id": answer.json()["id"], "text": f"{text}!"}
            answer = client.post("/feedback", json=feedback)
            assert answer.status_code == 200, answer.text
        message = {"role": "user", "content": SECRET}
        wrong = [
            ("/completions", {"json": {"model": SECRET, "prompt": SECRET}}),
            ("/completions", {"json": {"model": "alder", "prompt": SECRET, "max_tokens": SECRET}}),
            ("/completions", {"json": {"model": "alder", "prompt": SECRET, SECRET: 1}}),
            ("/completions", {"content": f'{{"prompt": "{SECRET}'.encode()}),
            ("/chat/completions", {"json": {"model": "alder", "messages": [message, SECRET]}}),
            (f"/{SECRET}", {"json": {}}),
        ]
        for path, body in wrong:
            assert 400 <= client.post(path, **body).status_code < 500
    assert server.stop() == 0
    log = server.read_log()
    objects = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= one.keys() for one in objects)
    requests = {one["tenant"]: one for one in objects if one["message"] == "request"}
    assert requests["birch"]["prompts"] == ["open-text"]
    assert "prompts" not in requests["alder"]
    assert SECRET not in log
    assert wait_until(lambda: any("stopping" in one["message"] for one in objects), "the last line")
