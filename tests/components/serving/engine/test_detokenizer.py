"""Pieces joined are the row's text, whatever comes in halves."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from components.serving.engine.detokenizer import IncrementalDetokenizer

TEXT = st.text(alphabet="ab é€😀\n", max_size=12)


def _decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def _written(content: bytes, stop: tuple[str, ...]) -> tuple[str, Any, list[str]]:
    writing, pieces = IncrementalDetokenizer(_decode, stop), []
    for byte in content:
        piece = writing.add_token(byte)
        pieces += [piece] if piece else []
        if piece and piece.finish:
            break
    else:
        pieces.append(writing.finish("length"))
    tokens = [token.text for piece in pieces for token in piece.tokens]
    return "".join(piece.text for piece in pieces), pieces[-1].finish, tokens


@given(text=TEXT, stop=st.lists(st.text(alphabet="ab é\n", min_size=1, max_size=3), max_size=3))
def test_bytes_one_by_one_give_the_text_before_the_first_stop(text: str, stop: list[str]) -> None:
    started = text.lstrip()
    ends = [started.find(one) + len(one) for one in stop if one in started]
    found, finish, _ = _written(text.encode(), tuple(stop))
    if not ends:
        assert (found, finish) == (text.strip(), "length")
        return
    first = min(ends)
    cut = min(started[:first].find(one) for one in stop if one in started[:first])
    assert (found, finish) == (started[:cut].rstrip(), "stop")


def test_tokens_go_out_with_their_text() -> None:
    assert _written(b" ab cd", ("cd",)) == ("ab", "stop", [" ", "a", "b"])
    assert _written(b"ab ", ()) == ("ab", "length", ["a", "b", " "])


def test_half_a_character_waits_for_its_other_half() -> None:
    writing = IncrementalDetokenizer(_decode)
    first, second = "é".encode()
    assert writing.add_token(first) is None
    piece = writing.add_token(second)
    assert piece is not None
    assert piece.text == "é"
