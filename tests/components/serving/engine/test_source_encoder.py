"""Sources are encoded once each, the longest first, and long ones outside of the event loop."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from components.errors import DataError
from components.model.base.load import Base
from components.model.decoding import Decoding
from components.model.delta import Delta
from components.serving.engine import source_encoder
from components.serving.engine.source_encoder import SourceEncoder

NO_PREFIX: Any = SimpleNamespace(tenant="alder", delta=Delta(), max_source_tokens=None)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(source, thread) of each call of the tokenizer."""
    made, make_requests = list[tuple[str, int]](), source_encoder.make_requests

    def record(base: Base, delta: Delta, texts: Any, *settings: Any) -> Any:
        made.extend((text, threading.get_ident()) for text in texts)
        return make_requests(base, delta, texts, *settings)

    monkeypatch.setattr(source_encoder, "make_requests", record)
    return made


def encode(base: Base, *sources: str) -> dict[str, list[int]]:
    encoder = SourceEncoder(base)
    try:
        encoded = asyncio.run(encoder.encode(NO_PREFIX, sources, Decoding(max_new_tokens=2)))
    finally:
        encoder.close()
    return {source: list(request.source) for source, request in encoded.items()}


def test_each_different_source_is_encoded_once(base: Base, calls: Any) -> None:
    encoded = encode(base, "a b", "c", "a b", "a b")
    assert [source for source, _ in calls] == ["a b", "c"]
    assert {thread for _, thread in calls} == {threading.get_ident()}
    (codec_ids,) = base.text_codec.encode_sources(["a b"])
    assert encoded["a b"] == list(codec_ids)


def test_a_source_that_is_too_long_ends_the_work_before_shorter_ones_are_encoded(base: Base, calls: Any) -> None:
    with pytest.raises(DataError):
        encode(base, "a", "b", "a" * 5_000)
    assert [len(source) for source, _ in calls] == [5_000]
    assert threading.get_ident() not in {thread for _, thread in calls}


def test_long_and_short_sources_have_the_same_ids(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = ("a b c", "ä: x | y")
    at_once = encode(base, *sources)
    monkeypatch.setattr(source_encoder, "_MAX_CHARS_AT_ONCE", 0)
    assert encode(base, *sources) == at_once
