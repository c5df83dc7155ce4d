"""Any body is accepted whole, or refused with an error that names the field."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.config import Params
from components.errors import DataError
from components.registry.mlflow.versions import Version
from components.serving.errors import RefusalError, make_error_body
from components.serving.http.completions import CompletionForm
from components.serving.http.openai import CompletionRequest
from components.serving.http.openai_chat import ChatRequest
from components.serving.http.validation import make_body_error

PROMPT = {"model": "alder", "prompt": "thing: boat"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(body=st.dictionaries(st.sampled_from([*CompletionRequest.model_fields, "x"]), JSON) | JSON)
def test_any_json_is_accepted_or_refused_with_three_beats(body):
    try:
        accepted = CompletionRequest.model_validate(body)
    except ValidationError as problems:
        refusal = make_body_error(problems.errors(), CompletionRequest, body)
        assert refusal.status == 400
        error = make_error_body(refusal)["error"]
        json.dumps(error, ensure_ascii=False).encode()
        assert error["message"].startswith("wanted ")
        return
    assert set(body) <= set(CompletionRequest.model_fields)
    with suppress(RefusalError, DataError):  # both are 400
        params = Params.model_validate({"base": {"path": "base"}})
        assert CompletionForm(accepted).make_rows(Version("alder", "1", sha256="0" * 64), params)


def post(ask, content):
    async def talk(client, _service):
        return await client.post("/v1/completions", content=content, headers={"content-type": "application/json"})

    return ask(talk)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"best_of": 3}, "best_of equal to n"),
        ({"suffix": "x"}, "suffix: no value, as it is not supported"),
        ({"echo": True}, "echo: no value, as it is not supported"),
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
        ({"num_beams": 2, "temperature": 0.5}, "either num_beams above 1 or a temperature above 0"),
        ({"num_beams": 2}, "at most 1 num_beams (those of the tenant's evaluation); got 2"),
        ({"logit_bias": {"12": 101}}, "wanted logit_bias.12: less than or equal to 100; got 101"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"presence_penalty": -3}, "wanted presence_penalty: greater than or equal to -2; got -3"),
        ({"prompt": 5}, "wanted prompt: a valid string or a valid list; got 5; correct prompt"),
        ({"prompt": ["a", None]}, "wanted prompt.1: a valid string; got None"),
        ({"stop": ""}, "wanted stop: at least 1 character; got ''"),
        ({"stop": ["a", ""]}, "wanted stop.1: at least 1 character; got ''"),
        ({"stop": ["a"] * 17}, "wanted stop: at most 16 items; got "),
        ({"n": 1000}, "wanted n: less than or equal to 128; got 1000"),
        ({"prompt": ["x"] * 4_000}, "at most 64 rows (prompts times n); got 4000"),
        ({"prompt": None, "input": "x"}, "wanted input: a valid object or a valid list; got 'x'"),
        ({"prompt": None, "input": {"a": {"b": "c"}}}, "wanted input.a: a valid string or a valid integer"),
        ({"prompt": None, "input": [{"a": ["b", True]}]}, "wanted input.0.a.1: a valid string"),
        ({"stream": True, "stream_options": {"usage": True}}, "wanted one of include_usage, include_obfuscation; got"),
        ({"user": "half \ud800"}, "text without lone surrogates"),
        ({"prompt": None, "input": {"half \ud800": "x"}}, "text without lone surrogates"),
    ],
)
def test_an_unsupported_or_invalid_value_is_refused_by_name(ask, fleet, change, message):
    answer = post(ask, json.dumps({**PROMPT, **change}))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]
    assert error["message"].startswith("wanted ")
    assert fleet.engine.requests == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "wanted a body that is a JSON object; got no body"),
        (b"[]", "wanted a body that is a JSON object; got []"),
        (b'{"model": "alder",', "double quotes, at character 18"),
        (b"{} x", "Extra data, at character 3"),
        (b'{"model": "\xff"}', "wanted a body in JSON, encoded as UTF-8"),
        (b"[" * 100_000, "wanted at most 10000 values in a body"),
        (b"[" * 950 + b"]" * 950, "wanted at most 32 lists and objects within each other; got more"),
        (b'{"model": "alder", "prompt": "\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'{"prompt": "x"}', "wanted a value for model; got none; add model"),
    ],
)
def test_a_body_that_is_no_valid_json_object_is_refused(ask, content, message):
    answer = post(ask, content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("wanted ")
    assert message in answer.json()["error"]["message"]


def test_neutral_values_of_unsupported_fields_are_accepted(ask):
    neutral = {"best_of": 1, "suffix": None, "echo": False, "user": "u"}
    assert post(ask, json.dumps({**PROMPT, **neutral})).status_code == 200


@pytest.mark.parametrize(
    ("message", "wanted", "fix"),
    [
        ({"role": "user", "content": "x", "nmae": "a"}, "one of role, content, name", "did you mean 'name'?"),
        (
            {"role": "tool", "content": "x", "tool_call_id": "1", "tool_cal_id": "1"},
            "tool_call_id",
            "did you mean 'tool_call_id'?",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "txt": "x"}]},
            "one of type, text",
            "did you mean 'text'?",
        ),
    ],
)
def test_an_unknown_key_in_a_message_is_refused_with_the_nearest_key_of_that_message(message, wanted, fix):
    body = {"model": "alder", "messages": [message]}
    with pytest.raises(ValidationError) as problems:
        ChatRequest.model_validate(body)
    refusal = make_body_error(problems.value.errors(), ChatRequest, body)
    assert (wanted in refusal.wanted, refusal.fix, refusal.code) == (True, fix, "unknown_parameter")
    assert "messages.0" in refusal.got
