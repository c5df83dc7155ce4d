"""Events of vLLM's stream."""

import json

import pytest

from components.errors import PrefixFleetError
from components.serving.errors import RefusalError
from components.serving.remote.reply_events import ReplyEvent, ReplyToken, parse_event
from components.serving.remote.server_errors import BrokenReplyError


def _event(**choice: object) -> str:
    return json.dumps({"choices": [{"index": 0, "text": "x", "finish_reason": None, "logprobs": None, **choice}]})


def test_an_event_has_token_ids_and_the_reason_of_the_end() -> None:
    assert parse_event(_event(token_ids=[5, 7])) == ReplyEvent((ReplyToken(5), ReplyToken(7)))
    assert parse_event(_event(token_ids=[5], finish_reason="length")).finish == "length"
    assert parse_event(_event(token_ids=None)) == ReplyEvent()
    assert parse_event(json.dumps({"choices": [], "usage": {"prompt_tokens": 3}})) == ReplyEvent()


def test_alternatives_are_ranked_and_the_chosen_token_beyond_them_is_left_out() -> None:
    top = {"token_id:9": -3.0, "token_id:5": -0.5, "token_id:7": -1.0}
    logprobs = {"tokens": ["token_id:9"], "token_logprobs": [-3.0], "top_logprobs": [top]}
    (token,) = parse_event(_event(token_ids=[9], logprobs=logprobs), 2).tokens
    assert token == ReplyToken(9, -3.0, ((5, -0.5), (7, -1.0)))
    (bare,) = parse_event(_event(token_ids=[9], logprobs=logprobs | {"top_logprobs": None})).tokens
    assert bare == ReplyToken(9, -3.0)


def test_an_error_event_is_raised() -> None:
    with pytest.raises(RefusalError, match="no room") as caught:
        parse_event(json.dumps({"error": {"message": "no room", "type": "BadRequestError", "code": 400}}))
    assert caught.value.status == 400
    with pytest.raises(RefusalError) as caught:
        parse_event(json.dumps({"error": "boom"}))
    assert caught.value.status == 502


@pytest.mark.parametrize(
    "data",
    [
        "",
        "no json",
        "[1]",
        "7",
        "null",
        '{"choices": [3]}',
        '{"choices": {"a": 1}}',
        _event(token_ids=[1], logprobs={}),
    ],
)
def test_what_is_no_event_is_a_broken_reply(data: str) -> None:
    with pytest.raises(BrokenReplyError) as caught:
        parse_event(data)
    assert isinstance(caught.value, PrefixFleetError)
    assert caught.value.status == 502
