"""Requests of the playground: bodies of the server's API, and the same as curl and Python."""

import json
import shlex

import pytest
from pydantic import ValidationError

from components.console.asking.requests import TryForm, build_request, write_curl, write_python
from components.errors import DataError
from components.serving.http.openai import CompletionRequest
from components.serving.http.openai_chat import ChatRequest


def ask(kind="text", text="name : Blue Spice", version="2", **settings):
    return build_request("acme", TryForm(version=version, kind=kind, text=text, **settings))


def test_a_text_is_asked_of_a_version_with_its_own_settings():
    request = ask()
    assert request.path == "/v1/completions"
    assert request.body == {
        "model": "acme@2",
        "prompt": "name : Blue Spice",
        "num_beams": 1,
        "logprobs": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_server_accepts_every_kind_of_request():
    settings = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3, "guidance": 1.5, "stop": "."}
    CompletionRequest.model_validate(ask(**settings).body)
    record = ask("record", '{"name": "Blue Spice", "near": ["a", "b"]}', **settings)
    assert record.body["input"] == {"name": "Blue Spice", "near": ["a", "b"]}
    CompletionRequest.model_validate(record.body)
    chat = ask("chat", "system: Be brief.\nuser: Hello,\nyou\nassistant: Hi.\nuser: Bye", **settings)
    assert (chat.path, chat.body["messages"][1]) == (
        "/v1/chat/completions",
        {"role": "user", "content": "Hello,\nyou"},
    )
    ChatRequest.model_validate(chat.body)
    assert ask("chat", "Note: this is no role").body["messages"] == [
        {"role": "user", "content": "Note: this is no role"}
    ]


def test_the_base_is_the_champion_without_guidance_and_beams_have_no_log_probabilities():
    base = ask(version="base", guidance=2.0).body
    assert (base["model"], base["guidance"]) == ("acme@champion", 0.0)
    beams = ask(num_beams=4).body
    assert (beams["num_beams"], "logprobs" in beams) == (4, False)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("record", "name : Blue", "a record as JSON"),
        ("record", "[1]", "a record as JSON"),
        ("record", "{}", "a record as JSON"),
        ("chat", "user: a\nassistant: b", "a last message of the user"),
    ],
)
def test_unusable_input_says_what_is_wanted(kind, text, message):
    with pytest.raises(DataError, match=message):
        ask(kind, text)


@pytest.mark.parametrize("changes", [{"version": "x y"}, {"guidance": 4.0}, {"text": ""}, {"other": 1}])
def test_the_form_is_checked(changes):
    with pytest.raises(ValidationError):
        TryForm.model_validate({"version": "1", "kind": "text", "text": "a", **changes})


def test_a_request_is_copied_as_commands():
    request = ask(text="it's <b>", guidance=1.5)
    words = shlex.split(write_curl("http://127.0.0.1:8000", request))
    assert words[:3] == ["curl", "-N", "http://127.0.0.1:8000/v1/completions"]
    assert json.loads(words[-1]) == request.body
    for made in (request, ask("chat"), ask("record", '{"a": "b"}')):
        program = write_python("http://127.0.0.1:8000", made)
        compile(program, "copied", "exec")
        assert "PREFIXFLEET_KEY" in program
    assert "extra_body={'guidance': 1.5, 'num_beams': 1}" in write_python("http://x", request)
