"""The spans of requests: of the application over a fake engine, and of a real server with a real engine and its log."""

import asyncio
import json

import httpx
import pytest
from otlp_receiver import run_otlp_receiver
from waiting import wait_until

from components.errors import ArtifactError

SECRET = "zanzibar"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "r-1"}


def test_a_request_goes_on_with_its_caller_s_trace_and_no_text_is_in_its_span(otlp, ask, fleet):
    wrong = [
        ("POST", "/v1/completions", {"json": {"model": SECRET, "prompt": SECRET}}),
        ("POST", "/v1/completions", {"json": {"model": "alder", "prompt": SECRET, SECRET: SECRET}}),
        ("POST", "/v1/completions", {"content": f'{{"prompt": "{SECRET}'.encode()}),
        ("POST", f"/v1/{SECRET}?{SECRET}={SECRET}", {"json": {}}),
        ("GET", f"/v1/models/{SECRET}", {}),
        (SECRET.upper(), "/v1/models", {}),
    ]

    async def talk(client, _service):
        body = {"model": "alder", "prompt": SECRET, "max_tokens": 2}
        answers = [await client.post("/v1/completions", json=body, headers=HEADERS)]
        fleet.engine.row_error = ValueError(f"cannot read {SECRET}")
        answers.append(await client.post("/v1/completions", json=body))
        answers += [await client.request(method, path, **options) for method, path, options in wrong]
        answers.append(await client.get("/healthz"))
        return [answer.status_code for answer in answers]

    statuses = ask(talk)
    assert statuses[:2] == [200, 500]
    wait_until(lambda: len(otlp.spans) == len(statuses) - 1, "the spans of all requests but that of health")
    first = otlp.wait_for("POST /v1/completions", request_id="r-1")
    assert (first.trace_id, first.parent_id, first.kind) == (TRACE, PARENT, "server")
    assert first.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/completions",
        "http.response.status_code": 200,
        "prefixfleet.request_id": "r-1",
        "prefixfleet.tenant": "alder",
        "prefixfleet.version": "1",
        "prefixfleet.arm": "champion",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
    }
    failed = [one for one in otlp.spans if one.is_failed]
    assert [(one.attributes["http.response.status_code"], one.attributes["error.type"]) for one in failed] == [
        (500, "ValueError")
    ]
    names = {one.name for one in otlp.spans}
    assert {"POST /v1/completions", "GET /v1/models/{model}", "POST"} < names
    assert names - {"POST /v1/completions", "GET /v1/models/{model}", "POST"} <= {"_OTHER", "_OTHER /v1/models"}
    assert not any(SECRET in body.decode("utf-8", "replace").lower() for body in otlp.bodies)


def test_the_unseen_answer_of_a_shadow_trial_is_below_the_request_and_says_how_it_ended(
    otlp, ask, fleet, start_trial, observe
):
    damaged = ArtifactError("an artifact", SECRET, "restore it")
    fleet.registry.register("alder", 3, "challenger")

    async def talk(client, service):
        await start_trial(service, shadow=True)
        working = asyncio.create_task(service.shadow_queue.run_forever())
        for count, problem in ((2, None), (4, damaged)):
            if problem:
                fleet.engine.errors[fleet.registry.find_challenger("alder").sha256] = problem
            await client.post("/v1/completions", json={"model": "alder", "prompt": SECRET, "max_tokens": 2})
            async with asyncio.timeout(60):
                while sum(one.requests for one in await observe(service)) < count:
                    await asyncio.sleep(0.01)
        working.cancel()

    ask(talk)
    wait_until(lambda: len(otlp.find("shadow answer")) == 2, "the spans of two shadow answers")
    requests, answers = otlp.find("POST /v1/completions"), otlp.find("shadow answer", tenant="alder", version="2")
    assert [(one.trace_id, one.parent_id) for one in answers] == [(one.trace_id, one.span_id) for one in requests]
    assert [one.is_failed for one in answers] == [False, True]
    assert [one.attributes["prefixfleet.outcome"] for one in answers] == ["done", "failed"]
    assert answers[0].attributes["gen_ai.usage.output_tokens"] == 2
    assert answers[1].attributes["error.type"] == "ArtifactError"
    assert not any(SECRET.encode() in body for body in otlp.bodies)


@pytest.mark.slow
def test_a_real_server_sends_spans_down_to_the_engine_s_steps_metrics_and_log_lines_with_their_ids(
    mlflow_fleet, start_server
):
    with run_otlp_receiver() as otlp:
        environment = {**otlp.environment, "PREFIXFLEET_LOG_FORMAT": "json"}
        server = start_server(mlflow_fleet.workspace.root, environment=environment)
        server.wait_ready()
        body = {"model": "alder", "prompt": [SECRET, f"{SECRET} again"], "max_tokens": 4}
        with httpx.Client(base_url=f"{server.url}/v1", timeout=60) as client:
            assert client.post("/completions", json=body, headers=HEADERS).status_code == 200
            with client.stream("POST", "/completions", json={**body, "prompt": SECRET, "stream": True}) as answer:
                assert "[DONE]" in answer.read().decode()
        request = otlp.wait_for("POST /v1/completions", request_id="r-1")
        rows = [one for one in otlp.find("generate") if one.parent_id == request.span_id]
        assert [name for name in otlp.list_children(request) if name != "load artifact"] == ["generate", "generate"]
        assert sorted(row.attributes["prefixfleet.row"] for row in rows) == [0, 1]
        for row in rows:
            assert otlp.list_children(row) == ["wait in queue", "prefill", "decode"]
            assert row.trace_id == request.trace_id == TRACE
            assert request.began_ns <= row.began_ns <= row.ended_ns <= request.ended_ns
        steps = [
            {
                event["prefixfleet.step"]: event["prefixfleet.rows"]
                for one in otlp.spans
                if one.parent_id == row.span_id
                for _, event in one.events
            }
            for row in rows
        ]
        shared = steps[0].keys() & steps[1].keys()
        assert shared, "both rows were in one batch, so they name the same steps"
        assert {steps[0][number] for number in shared} == {steps[1][number] for number in shared} == {2}
        (prefill, *_) = [one for one in otlp.find("prefill") if one.trace_id == TRACE]
        assert prefill.events[0][1]["prefixfleet.source_tokens"] >= len(SECRET)
        name = "prefixfleet_requests", (("arm", "champion"), ("status", "200"), ("tenant", "alder"))
        wait_until(lambda: otlp.metrics.get(name) == 2, "the counter of requests")
        assert otlp.metrics["prefixfleet_ready", ()] == 1
        assert otlp.kinds["prefixfleet_request_seconds"] == "histogram"
        assert server.stop() == 0
        assert {one.service for one in otlp.spans} == {"prefixfleet-server"}
        assert not any(SECRET.encode() in sent for sent in otlp.bodies)
        lines = [json.loads(line) for line in server.read_log().splitlines()]
        (line,) = [one for one in lines if one.get("request") == "r-1" and one["message"] == "request"]
        assert (line["trace_id"], line["span_id"]) == (TRACE, request.span_id)


@pytest.mark.slow
def test_a_server_whose_collector_never_answers_serves_and_ends_as_ever(mlflow_fleet, start_server):
    with run_otlp_receiver() as otlp:
        otlp.may_answer.clear()
        environment = {**otlp.environment, "OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
        server = start_server(mlflow_fleet.workspace.root, environment=environment)
        server.wait_ready()
        with httpx.Client(base_url=f"{server.url}/v1", timeout=60) as client:
            for _ in range(20):
                answer = client.post("/completions", json={"model": "birch", "prompt": "a", "max_tokens": 2})
                assert answer.status_code == 200
        assert server.stop() == 0
        assert otlp.spans == []
