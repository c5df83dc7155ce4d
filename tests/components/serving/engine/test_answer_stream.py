import asyncio

import pytest

from components.errors import DataError
from components.serving.engine.answer_stream import EngineAnswerStream, deliver_events
from components.serving.interface import AnswerPiece


def test_pieces_are_delivered_in_order_until_the_finish() -> None:
    async def talk() -> list[str]:
        streams = [EngineAnswerStream(3, lambda: None) for _ in range(2)]
        deliver_events([(stream, AnswerPiece(text)) for text in ("a", "b") for stream in streams])
        deliver_events([(stream, AnswerPiece("c", finish="stop")) for stream in streams])
        assert [piece.text async for piece in streams[1]] == ["a", "b", "c"]
        return [piece.text async for piece in streams[0]]

    assert asyncio.run(talk()) == ["a", "b", "c"]


def test_an_answer_that_is_not_streamed_comes_as_its_first_piece_and_then_several_pieces_together() -> None:
    async def talk() -> list[int]:
        stream, waiting = EngineAnswerStream(3, lambda: None, is_streamed=False), []
        for number in range(40):
            deliver_events([(stream, AnswerPiece(str(number), finish="stop" if number == 39 else None))])
            await asyncio.sleep(0)
            waiting.append(stream._events.qsize())
        assert [piece.text async for piece in stream] == [str(number) for number in range(40)]
        return sorted(set(waiting))

    assert asyncio.run(talk()) == [1, 17, 33, 40]


def test_an_error_comes_after_the_pieces_before_it() -> None:
    async def talk() -> None:
        stream = EngineAnswerStream(3, lambda: None, is_streamed=False)
        deliver_events([(stream, AnswerPiece(text)) for text in "abc"])
        deliver_events([(stream, DataError("a", "b", "c"))])
        pieces = stream.__aiter__()
        assert [(await anext(pieces)).text for _ in range(3)] == ["a", "b", "c"]
        with pytest.raises(DataError):
            await anext(pieces)

    asyncio.run(talk())


def test_an_error_is_raised_to_the_reader() -> None:
    async def talk() -> None:
        stream = EngineAnswerStream(3, lambda: None)
        deliver_events([(stream, AnswerPiece("a")), (stream, DataError("a", "b", "c"))])
        with pytest.raises(DataError):
            _ = [piece async for piece in stream]
        assert not stream.cancelled

    asyncio.run(talk())


def test_cancelling_twice_calls_back_once_and_ends_the_iteration_without_a_finish() -> None:
    calls: list[int] = []

    async def talk() -> list[AnswerPiece]:
        stream = EngineAnswerStream(3, lambda: calls.append(1))
        stream.cancel()
        stream.cancel()
        return [piece async for piece in stream]

    assert asyncio.run(talk()) == []
    assert calls == [1]


def test_leaving_the_iteration_early_cancels() -> None:
    async def talk() -> bool:
        stream = EngineAnswerStream(3, lambda: None)
        deliver_events([(stream, AnswerPiece("a"))])
        pieces = stream.__aiter__()
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        return stream.cancelled

    assert asyncio.run(talk())


def test_a_stream_whose_event_loop_is_closed_is_cancelled() -> None:
    async def make() -> EngineAnswerStream:
        return EngineAnswerStream(3, lambda: None)

    stream = asyncio.run(make())
    deliver_events([(stream, AnswerPiece("a"))])
    assert stream.cancelled
