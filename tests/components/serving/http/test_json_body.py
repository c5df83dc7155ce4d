"""What is parsed is what JSON says, and what is refused is refused before objects are built from it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.serving.errors import RefusalError
from components.serving.http.json_body import MAX_DEPTH, _is_too_deep, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def count_values(value):
    if isinstance(value, dict):
        return 1 + sum(1 + count_values(inner) for inner in value.values())
    return 1 + sum(map(count_values, value)) if isinstance(value, list) else 1


@given(value=JSON, is_ascii=st.booleans())
def test_json_within_the_limits_is_read_as_it_is(value, is_ascii):
    content = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    assert parse_json(content, 1 + 3 * count_values(value)) == value


@given(value=JSON.filter(lambda value: count_values(value) > 3), share=st.floats(0, 0.4))
def test_more_values_than_allowed_are_refused_whatever_the_texts_contain(value, share):
    limit = max(1, int(count_values(value) * share))
    with pytest.raises(RefusalError, match=f"at most {limit} values"):
        parse_json(json.dumps(value).encode(), limit)


@pytest.mark.parametrize(
    "content",
    [
        b'{"input": {"a": [' + b"{}," * 330_000 + b"{}]}}",
        b'{"prompt": [' + b"1," * 490_000 + b"1]}",
        b"{" + b",".join(b'"%d":1' % number for number in range(90_000)) + b"}",
        b'{"prompt": [' + b'"",' * 330_000 + b'""]}',
        b"[" * 500_000,
        b"[" * 9_000 + b"]" * 990_000,
    ],
)
def test_a_body_of_many_values_is_refused_before_it_is_parsed(content, monkeypatch):
    monkeypatch.setattr(json, "loads", lambda _text: pytest.fail("it is parsed"))
    with pytest.raises(RefusalError, match="at most 10000 values"):
        parse_json(content, 10_000)


@pytest.mark.parametrize("pair", [b"[]", b'{"a":}'.replace(b"}", b"") + b"}"])
@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 950])
def test_nesting_is_limited(pair, depth):
    start, end = pair[:-1], pair[-1:]
    content = start * depth + b"1" + end * depth
    if depth <= MAX_DEPTH:
        parse_json(content, 10_000)
    else:
        with pytest.raises(RefusalError, match=f"at most {MAX_DEPTH} lists and objects within each other; got more"):
            parse_json(content, 10_000)


@given(value=JSON)
def test_depth_is_counted_in_lists_and_objects_alike(value):
    def measure(value):
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(measure, inner), default=0)

    brackets = re.sub(
        r"[^\[\]{}]", "", re.sub(r'"[^"]*"', "", json.dumps(value).replace("\\\\", "").replace('\\"', ""))
    )
    room = MAX_DEPTH - measure(value)
    assert not _is_too_deep("[" * room + brackets + "]" * room)
    assert _is_too_deep("{" * (room + 1) + brackets + "}" * (room + 1))


@pytest.mark.parametrize("opened", [MAX_DEPTH, MAX_DEPTH + 1, 5_000])
@pytest.mark.parametrize("end", [b"", b"[]" * 100, b"]" * 3])
def test_lists_that_are_not_closed_are_refused_without_recursion(opened, end):
    expected = "within each other" if opened > MAX_DEPTH else "within each other|a body in JSON"
    with pytest.raises(RefusalError, match=expected):
        parse_json(b"[" * opened + end, 10_000)


@pytest.mark.parametrize("content", [b"", b"\xff", '{"a": 1}'.encode("utf-16"), b"\\" * 100, b'{"a" 1}', b"]" * 50])
def test_what_is_not_json_is_refused(content):
    with pytest.raises(RefusalError, match="wanted a body in JSON"):
        parse_json(content, 10_000)


def test_a_number_of_thousands_of_digits_is_named():
    with pytest.raises(RefusalError, match="got a number of thousands of digits"):
        parse_json(b'{"max_tokens": ' + b"9" * 5_000 + b"}", 10_000)


def test_separators_and_quotes_within_a_text_do_not_count():
    text = '\\" [{,:}] "\\\\' * 10_000
    assert parse_json(json.dumps({"prompt": text}).encode(), 10) == {"prompt": text}
