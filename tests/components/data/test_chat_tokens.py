"""Conversations as rows beside pairs, with an encoder of one id per letter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chat_templates import say

from components.data.chat_tokens import ChatEncoding
from components.data.conversations import parse_conversation
from components.data.schema import Example
from components.data.token_file import TokenFile
from components.data.tokens import encode_examples
from components.errors import DataError


@dataclass(frozen=True)
class Row:
    ids: tuple[int, ...]
    mask: tuple[bool, ...]


class Letters:
    """Encodes texts and conversations by one id per letter; of conversations the assistant's letters count."""

    eos_id, unknown_id, digest = 0, ord("?"), "d"
    calls = 0

    def encode_sources(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        return [[*map(ord, text[:limit]), 0] for text in texts]

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*map(ord, text), 0] for text in texts]

    def encode_conversation(
        self, messages: Sequence[Mapping[str, Any]], tools: Any = None, *, turns: str = "all"
    ) -> list[Row]:
        type(self).calls += 1
        if messages[0]["content"] == "refused":
            raise DataError("another message", "refused", "change it")
        letters = [
            (ord(letter), one["role"] == "assistant" and (turns == "all" or one is messages[-1]))
            for one in messages
            for letter in one["content"]
        ]
        return [Row(*(tuple(part) for part in zip(*letters, strict=True)))]


def chat(*turns: str) -> Example:
    return Example.from_conversation(parse_conversation(say(*turns)))


def encode(*examples: Example, turns: Any = "all", **changes: Any) -> Any:
    options = {"context": 64, "prefix_length": 0, "max_source_tokens": 2, "expand_references": True}
    chats = ChatEncoding(Letters(), turns)
    return encode_examples(Letters(), examples, **{**options, "chats": chats, **changes})


def test_pairs_come_first_and_a_conversation_is_never_cut(tmp_path: Path) -> None:
    examples = [chat("abc", "d", "ef", "gh"), Example("xyz", ("v", "w")), chat("i", "j")]
    files = {"file": TokenFile(tmp_path / "train.safetensors", "t")}
    for changes in ({}, files, files):
        Letters.calls = 0
        pairs = list(encode(*examples, **changes))
        assert [(bytes(one.source_ids), bytes(one.target_ids)) for one in pairs] == [
            (b"xy\0", b"v\0"),
            (b"xy\0", b"w\0"),
            (b"abc", b"defgh"),
            (b"i", b"j"),
        ]
        assert pairs[2].target_mask == (True, False, False, True, True)
        assert [one.loss_tokens for one in pairs] == [2, 2, 3, 1]
    assert Letters.calls == 0  # the third time, the rows come from the file
    (last,) = encode(examples[0], turns="last", **files)
    assert (bytes(last.source_ids), bytes(last.target_ids)) == (b"abcdef", b"gh")
    assert list(encode(*examples)[2:]) == pairs[2:]


def test_what_cannot_be_encoded_is_named() -> None:
    with pytest.raises(DataError, match=r"conversation of 8 tokens in example 2 of the examples \('ef'\)"):
        encode(chat("a", "b"), chat("abc", "d", "ef", "gh"), context=9, prefix_length=2)
    with pytest.raises(DataError, match="refused, in example 2 of the examples"):
        encode(Example("a", ("b",)), chat("refused", "b"))
    with pytest.raises(DataError, match="reads source and target apart"):
        encode(chat("a", "b"), separate_contexts=True)
    with pytest.raises(DataError, match="in-context"):
        encode(chat("a", "b"), chats=None)
    with pytest.raises(DataError, match=r"33.33% unknown tokens"):
        encode(chat("ab", "?"), max_unknown=0.1)
