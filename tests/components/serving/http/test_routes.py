import json

import pytest

PROMPT = {"model": "alder", "prompt": "thing: boat"}
OURS = ("tenant", "version", "artifact", "base", "arm")


def test_an_answer_has_openais_shape_and_says_who_it_is_from(ask, fleet):
    async def talk(client, _service):
        return await client.post("/v1/completions", json=PROMPT, headers={"x-request-id": "mine"})

    answer = ask(talk)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (choice,) = body["choices"]
    champion = fleet.registry.find_champion("alder")
    assert body["object"] == "text_completion"
    assert choice["index"] == 0
    assert choice["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"] > 3
    told = {name: answer.headers[f"x-prefixfleet-{name}"] for name in OURS}
    assert told == {
        "tenant": "alder",
        "version": "1",
        "artifact": champion.sha256,
        "base": fleet.workspace.base.digest,
        "arm": "champion",
    }
    assert answer.headers["x-request-id"] == "mine"


def test_prompts_and_draws_come_in_order_each_prompt_counted_once(ask, fleet):
    body = {**PROMPT, "prompt": ["one", "two"], "n": 2, "temperature": 1, "seed": 7, "stop": "x", "guidance": 2}

    async def talk(client, _service):
        return (await client.post("/v1/completions", json=body)).json()

    answer = ask(talk)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    asked = [(one.source, one.sample_index, one.seed, one.stop, one.guidance) for one in fleet.engine.requests]
    assert asked == [
        ("one", 0, 7, ("x",), 2),
        ("one", 1, 7, ("x",), 2),
        ("two", 0, 7, ("x",), 2),
        ("two", 1, 7, ("x",), 2),
    ]
    assert answer["usage"]["prompt_tokens"] == 2 * 3


def test_what_is_left_out_is_as_the_tenants_evaluation(ask, fleet):
    async def talk(client, _service):
        await client.post("/v1/completions", json=PROMPT)

    ask(talk)
    (request,) = fleet.engine.requests
    assert (request.max_tokens, request.temperature, request.guidance) == (6, 0.0, 1.0)


def test_a_stream_brings_the_same_text_and_the_usage_last(ask):
    body = {**PROMPT, "logprobs": 1}

    async def talk(client, _service):
        whole = (await client.post("/v1/completions", json=body)).json()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        return whole, await client.post("/v1/completions", json=streamed)

    whole, answer = ask(talk)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-prefixfleet-tenant"] == "alder"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    offsets = [offset for chunk in chunks[:-1] for offset in chunk["choices"][0]["logprobs"]["text_offset"]]
    assert offsets == whole["choices"][0]["logprobs"]["text_offset"]


def test_a_record_is_written_as_the_tenants_data_are(ask, fleet):
    fleet.register("cedar", 3, "champion", form="key=value; key=value")
    record = {"name": "Blue Spice", "stars": 3}

    async def talk(client, _service):
        for model in ("alder", "cedar"):
            answer = await client.post("/v1/completions", json={"model": model, "input": record})
            assert answer.status_code == 200, answer.text

    ask(talk)
    assert [one.source for one in fleet.engine.requests] == [
        "name : Blue Spice | stars : 3",
        "name=Blue Spice; stars=3",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"best_of": 3}, "best_of equal to n"),
        ({"suffix": "x"}, "suffix: no value, as it is not supported"),
        ({"echo": True}, "echo: no value, as it is not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias: no value, as it is not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty: no value, as it is not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty: no value, as it is not supported"),
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"prompt": ""}, "a prompt with text"),
        ({"prompt": [1, 2]}, "valid string"),
        ({"prompt": None}, "exactly one of prompt and input"),
        ({"input": {"a": "b"}}, "exactly one of prompt and input"),
        ({"prompt": None, "input": {}}, "at least one field"),
        ({"max_tokens": 5000}, "at most 1024 max_tokens"),
        ({"prompt": ["x"] * 65}, "at most 64 rows"),
        ({"prompt": "x" * 20_001}, "at most 20000 characters"),
        ({"temperature": 3}, "less than or equal to 2"),
        ({"stream_options": {"include_usage": True}}, "only together with stream"),
        ({"seed": 2**63}, "seed"),
        ({"prompt": 5}, "wanted prompt: a valid string or a valid list; got 5; correct prompt"),
        ({"prompt": ["a", None]}, "wanted prompt.1: a valid string; got None"),
        ({"stop": ""}, "wanted stop: at least 1 character; got ''"),
        ({"stop": ["a", ""]}, "wanted stop.1: at least 1 character; got ''"),
        ({"stop": ["a"] * 17}, "wanted stop: at most 16 items; got "),
        ({"n": 1000}, "wanted n: less than or equal to 128; got 1000"),
        ({"prompt": ["x"] * 10_000}, "at most 64 rows (prompts times n); got 10000"),
        ({"prompt": None, "input": "x"}, "wanted input: a valid object or a valid list; got 'x'"),
        ({"prompt": None, "input": {"a": {"b": "c"}}}, "wanted input.a: a valid string or a valid integer"),
        ({"prompt": None, "input": [{"a": ["b", True]}]}, "wanted input.0.a.1: a valid string"),
        ({"stream": True, "stream_options": {"usage": True}}, "wanted one of include_usage, include_obfuscation; got"),
        ({"user": "half \ud800"}, "text without lone surrogates"),
        ({"prompt": None, "input": {"half \ud800": "x"}}, "text without lone surrogates"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(ask, fleet, change, told):
    async def talk(client, _service):
        content = json.dumps({**PROMPT, **change})
        return await client.post("/v1/completions", content=content, headers={"content-type": "application/json"})

    answer = ask(talk)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert told in error["message"]
    assert error["message"].startswith("wanted ")
    assert fleet.engine.requests == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "wanted a body that is a JSON object; got no body"),
        (b"[]", "wanted a body that is a JSON object; got []"),
        (b'{"model": "alder",', "double quotes, at character 18"),
        (b"{} x", "Extra data, at character 3"),
        (b'{"model": "\xff"}', "wanted a body in JSON, encoded as UTF-8"),
        (b"[" * 100_000, "wanted a body in JSON"),
        (b'{"model": "alder", "prompt": "\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'{"prompt": "x"}', "wanted a value for model; got none; add model"),
    ],
)
def test_broken_bodies_are_refused(ask, content, told):
    async def talk(client, _service):
        return await client.post("/v1/completions", content=content, headers={"content-type": "application/json"})

    answer = ask(talk)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("wanted ")
    assert told in answer.json()["error"]["message"]


def test_a_method_that_a_path_has_not_is_told_with_those_that_it_has(ask):
    async def talk(client, _service):
        asked = [("PUT", "/v1/completions"), ("BREW", "/v1/models"), ("POST", "/healthz"), ("GET", "/v1/nothing")]
        return [await client.request(*one) for one in asked]

    answers = ask(talk)
    assert [answer.status_code for answer in answers] == [405, 405, 405, 404]
    assert [answer.headers.get("allow") for answer in answers] == ["POST", "GET", "GET", None]
    assert "use POST" in answers[0].json()["error"]["message"]
    assert all("x-request-id" in answer.headers for answer in answers)


def test_neutral_values_of_unsupported_fields_are_accepted(ask):
    neutral = {"best_of": 1, "suffix": None, "echo": False, "logit_bias": {}, "presence_penalty": 0, "user": "u"}

    async def talk(client, _service):
        return await client.post("/v1/completions", json={**PROMPT, **neutral})

    assert ask(talk).status_code == 200


def test_a_full_queue_and_a_torn_artifact_are_told_as_they_are(ask, fleet):
    async def talk(client, _service):
        fleet.engine.full = True
        busy = await client.post("/v1/completions", json=PROMPT)
        fleet.engine.full = False
        fleet.engine.broken.add(fleet.registry.find_champion("alder").sha256)
        return busy, await client.post("/v1/completions", json=PROMPT)

    busy, torn = ask(talk)
    assert busy.status_code == 429
    assert busy.headers["retry-after"] == "3"
    assert busy.json()["error"]["type"] == "rate_limit_error"
    assert torn.status_code == 503
    assert "/secret" not in torn.text


def test_models_are_those_with_a_champion(ask, fleet):
    fleet.register("alder", 9, "challenger")

    async def talk(client, _service):
        return await client.get("/v1/models"), await client.get("/v1/models/alder"), await client.get("/v1/models/x")

    listed, one, none = ask(talk)
    assert [model["id"] for model in listed.json()["data"]] == ["alder", "birch"]
    assert (one.json()["version"], one.json()["challenger"]) == ("1", "2")
    assert none.status_code == 404


def test_feedback_reaches_the_version_that_answered(ask, fleet):
    from components.rollout.store.feedback import read_corrections

    async def talk(client, service):
        name = (await client.post("/v1/completions", json=PROMPT)).json()["id"]
        good = await client.post("/v1/feedback", json={"id": name, "rating": 1, "text": "a boat"})
        unknown = await client.post("/v1/feedback", json={"id": "cmpl-x", "rating": 1})
        empty = await client.post("/v1/feedback", json={"id": name})
        return good, unknown, empty, read_corrections(service.database)

    good, unknown, empty, kept = ask(talk)
    assert (good.status_code, unknown.status_code, empty.status_code) == (200, 404, 400)
    ((_, feedback),) = kept
    assert (feedback.tenant, feedback.version, feedback.source, feedback.corrected) == (
        "alder",
        "1",
        "thing: boat",
        "a boat",
    )
