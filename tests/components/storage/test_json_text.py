"""Whatever is wrong with JSON is a ValueError, and a file that is too large is not read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.storage.json_text import MAX_DEPTH, parse_json, read_bounded

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(values=VALUES)
def test_values_are_those_that_were_written(values: Any) -> None:
    text = json.dumps(values, ensure_ascii=False)
    assert parse_json(text) == values
    assert parse_json(text.encode()) == values


@given(content=st.binary() | st.text())
def test_any_content_gives_values_or_a_value_error(content: bytes | str) -> None:
    try:
        parse_json(content)
    except ValueError:
        return
    json.loads(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        b"\xff",
        "[" * 10**6,
        '{"a":' * 10**5,
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * 950 + "1" + "}" * 950,
        "9" * 5000,
        '{"a": -' + "9" * 5000 + "}",
    ],
    ids=lambda text: f"{text[:6]!r} {len(text)}",
)
def test_what_python_cannot_hold_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own messages differ
        parse_json(text)


def test_values_may_be_nested_to_the_limit() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_file_within_the_limit_is_read_and_a_sparse_one_of_terabytes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_bounded(path, 3) == b"abc"
    with pytest.raises(ValueError, match="3 bytes, more than 2"):
        read_bounded(path, 2)
    with path.open("wb") as stream:
        stream.truncate(2**41)
    with pytest.raises(ValueError, match=f"{2**41} bytes"):
        read_bounded(path, 1 << 20)
