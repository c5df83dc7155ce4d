"""What another engine is asked for when an answer has begun."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from components.serving.interface import ArtifactRef, GenerationRequest, TokenControls
from components.serving.remote.continuation import can_continue, skip_known_tokens
from components.serving.remote.reply_events import ReplyEvent, ReplyToken
from components.serving.remote.server_errors import ServerDownError


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ({}, True),
        ({"min_new_tokens": 4, "logit_bias": ((3, 1.0),)}, True),
        ({"presence_penalty": 0.5}, False),
        ({"frequency_penalty": -0.5}, False),
        ({"json_schema": "{}"}, False),
    ],
)
def test_an_answer_whose_next_token_depends_on_the_earlier_ones_begins_again(controls: Any, expected: bool) -> None:
    request = GenerationRequest(ArtifactRef("a", "1", "0" * 64), "x", controls=TokenControls(**controls))
    assert can_continue(request) is expected


def skip(batches: Sequence[Sequence[int]], known: Sequence[int]) -> list[list[int]]:
    """Return the tokens of the events that are left."""

    async def reply() -> AsyncGenerator[ReplyEvent]:
        for number, ids in enumerate(batches):
            yield ReplyEvent(tuple(map(ReplyToken, ids)), "stop" if number == len(batches) - 1 else None)

    async def collect() -> list[ReplyEvent]:
        return [event async for event in skip_known_tokens(reply(), known)]

    events = asyncio.run(collect())
    assert events[-1].finish == "stop"
    return [[token.token_id for token in event.tokens] for event in events]


def test_known_tokens_are_left_out_wherever_an_event_divides_them() -> None:
    assert skip([[1, 2], [3, 4, 5], [6]], [1, 2, 3]) == [[], [4, 5], [6]]
    assert skip([[1], [2]], []) == [[1], [2]]
    assert skip([[1], [2]], [1, 2]) == [[], []]


def test_an_answer_that_begins_otherwise_is_not_mixed_with_the_first() -> None:
    with pytest.raises(ServerDownError, match="begins the answer otherwise"):
        skip([[1, 2], [9, 4]], [1, 2, 3])
