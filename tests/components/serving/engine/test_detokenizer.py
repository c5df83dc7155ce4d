"""The joined pieces are the row's text, even if a character or a stop string comes in several tokens."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS, WORDS, make_tokenizer

from components.model.text.texts import TextCodec
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.interface import AnswerPiece, Token

TEXT = st.text(alphabet="ab é€😀\n", max_size=12)


def _decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def _detokenize(content: bytes, stop: tuple[str, ...]) -> tuple[str, Any, list[str]]:
    detokenizer, pieces = IncrementalDetokenizer(_decode, stop), []
    for byte in content:
        piece = detokenizer.add_token(byte)
        pieces += [piece] if piece else []
        if piece and piece.finish:
            break
    else:
        pieces.append(detokenizer.finish("length"))
    tokens = [token for piece in pieces for token in piece.tokens]
    text = "".join(piece.text for piece in pieces)
    check_tokens(text, tokens)
    assert detokenizer.answer_tokens == len(tokens)
    return text, pieces[-1].finish, [token.text for token in tokens]


def check_tokens(text: str, tokens: Sequence[Token]) -> None:
    """The tokens are the parts of the text, in order, and each offset is where its token begins."""
    assert "".join(token.text for token in tokens) == text
    offset = 0
    for token in tokens:
        assert token.offset == offset
        assert text[token.offset :].startswith(token.text)
        offset += len(token.text)


@given(text=TEXT, stop=st.lists(st.text(alphabet="ab é\n", min_size=1, max_size=3), max_size=3))
def test_single_bytes_give_the_text_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    stripped = text.lstrip()
    ends = [stripped.find(one) + len(one) for one in stop if one in stripped]
    result, finish, _ = _detokenize(text.encode(), tuple(stop))
    if not ends:
        assert (result, finish) == (text.strip(), "length")
        return
    first = min(ends)
    cut = min(stripped[:first].find(one) for one in stop if one in stripped[:first])
    assert (result, finish) == (stripped[:cut].rstrip(), "stop")


def test_a_token_is_returned_together_with_its_text() -> None:
    assert _detokenize(b" ab cd", ("cd",)) == ("ab", "stop", ["", "a", "b"])
    assert _detokenize(b"ab ", ()) == ("ab", "length", ["a", "b", ""])
    assert _detokenize("é".encode(), ()) == ("é", "length", ["", "é"])


def test_an_incomplete_character_is_held_back() -> None:
    detokenizer = IncrementalDetokenizer(_decode)
    first, second = "é".encode()
    assert detokenizer.add_token(first) is None
    piece = detokenizer.add_token(second)
    assert piece is not None
    assert piece.text == "é"


@cache
def codec_of(kind: str) -> TextCodec:
    return TextCodec(make_tokenizer(kind))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), stop=st.sampled_from([(), (" ",), ("e",), ("司", "a b")]))
def test_the_tokens_of_any_tokenizer_are_the_parts_of_the_text(kind: str, data: Any, stop: tuple[str, ...]) -> None:
    tokenizer = codec_of(kind).tokenizer

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    detokenizer, pieces = IncrementalDetokenizer(decode, stop), list[AnswerPiece]()
    for token in data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12)):
        piece = detokenizer.add_token(token, -1.0, [(token, -1.0)])
        pieces += [piece] if piece else []
        if piece and piece.finish:
            break
    else:
        pieces.append(detokenizer.finish("length"))
    check_tokens("".join(piece.text for piece in pieces), [token for piece in pieces for token in piece.tokens])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(text=st.lists(st.sampled_from([*WORDS, "寿司", "😀"]), min_size=1, max_size=6).map(" ".join))
def test_the_pieces_of_any_tokenizer_are_its_decoded_text(kind: str, text: str) -> None:
    codec = codec_of(kind)
    (ids,) = codec.encode_targets([text])

    def decode(ids: Sequence[int]) -> str:
        return str(codec.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    detokenizer = IncrementalDetokenizer(decode)
    pieces = [*map(detokenizer.add_token, ids[:-1]), detokenizer.finish("stop")]
    assert "".join(piece.text for piece in pieces if piece) == codec.decode(ids)
