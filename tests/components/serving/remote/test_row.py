"""One row: it ends by itself, at its limit, or with an error, whatever its engine sends."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest

from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.remote.reply_events import ReplyEvent, ReplyToken
from components.serving.remote.row import RemoteRow
from components.serving.remote.server_errors import BrokenReplyError, ServerDownError

STOP_ID = 9
Reply = Callable[[Sequence[int]], AsyncGenerator[ReplyEvent]]


def run(open_reply: Reply, limit: int = 6) -> tuple[str, str | None]:
    """Return the text and why it ended; the text of a token is its number."""

    async def collect() -> tuple[str, str | None]:
        stream = EngineAnswerStream(1, lambda: None)
        detokenizer = IncrementalDetokenizer(lambda ids: "".join(map(str, ids)))
        await RemoteRow(stream, detokenizer, [STOP_ID], limit, open_reply).run()
        pieces = [piece async for piece in stream]
        return "".join(piece.text for piece in pieces), pieces[-1].finish

    return asyncio.run(collect())


def make_reply(*parts: Any) -> Reply:
    """Return engines: each begins where the answer is, and gives so many tokens, then an error or its finish."""
    answer, calls = [1, 2, 3, 4, 5, 6], iter(parts)

    async def reply(known: Sequence[int]) -> AsyncGenerator[ReplyEvent]:
        assert list(known) == answer[: len(known)]
        count, end = next(calls)
        yield ReplyEvent(tuple(map(ReplyToken, answer[len(known) : len(known) + count])))
        if isinstance(end, Exception):
            raise end
        if end:
            yield ReplyEvent((), end)

    return reply


DOWN = ServerDownError("a test")


def test_several_engines_give_one_answer() -> None:
    assert run(make_reply((2, DOWN), (3, "abort"), (1, "length"))) == ("123456", "length")
    assert run(make_reply((2, DOWN), (2, "stop"))) == ("1234", "stop")


def test_an_answer_that_had_all_its_tokens_needs_no_further_engine() -> None:
    assert run(make_reply((4, DOWN)), limit=4) == ("1234", "length")
    assert run(make_reply((4, None)), limit=4) == ("1234", "length")


def test_an_engine_that_gives_nothing_more_ends_the_row() -> None:
    with pytest.raises(ServerDownError):
        run(make_reply((2, DOWN), (0, DOWN)))
    with pytest.raises(ServerDownError, match="without a reason"):
        run(make_reply((2, None), (0, None)))


def test_a_finish_that_is_unknown_is_an_error() -> None:
    with pytest.raises(BrokenReplyError, match="'error'"):
        run(make_reply((2, "error")))


def test_a_stop_token_ends_the_row() -> None:
    async def reply(_: Sequence[int]) -> AsyncGenerator[ReplyEvent]:
        yield ReplyEvent((ReplyToken(1), ReplyToken(STOP_ID), ReplyToken(2)))

    assert run(reply) == ("1", "stop")
