import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import DataConfig
from components.data.schema import (
    Example,
    check_tenant_id,
    find_problem,
    format_line,
    list_tenants,
    parse_line,
    read_split,
    write_split,
)
from components.data.visible_text import has_visible_text
from components.errors import DataError

LIMITS = DataConfig(max_source_chars=200, max_reference_chars=100, max_references=3)
GOOD = '{"source": "name : A", "references": ["A is here.", "Here is A."], "slice": "seen"}'


def test_a_line_becomes_an_example() -> None:
    assert parse_line(GOOD, LIMITS) == Example("name : A", ("A is here.", "Here is A."), "seen")


def test_a_null_slice_is_no_slice() -> None:
    assert parse_line('{"source": "a", "references": ["b"], "slice": null}', LIMITS).slice is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ("9" * 5_000, "broken JSON"),
        ("[]", "type list"),
        ('{"references": ["b"]}', "no key 'source'"),
        ('{"source": 3, "references": ["b"]}', "source of type int"),
        ('{"source": " ", "references": ["b"]}', "source is empty"),
        ('{"source": "a"}', "no reference"),
        ('{"source": "a", "references": []}', "no reference"),
        ('{"source": "a", "references": "b"}', "not a list of strings"),
        ('{"source": "a", "references": [null]}', "not a list of strings"),
        ('{"source": "a", "references": ["b", ""]}', "reference 2 is empty"),
        (
            '{"source": "\\u0000", "references": ["b"]}',
            "source is empty (only invisible characters, the first is U+0000)",
        ),
        ('{"source": "a", "references": ["\\u200b"]}', "reference 1 is empty (only invisible"),
        ('{"source": "a", "references": ["b", " \\ufeff"]}', "the first is U+FEFF"),
        ('{"source": "a", "references": ["b"], "slice": "\\u0301"}', "slice is blank"),
        ('{"source": "a", "references": ["b"], "slice": ""}', "slice is blank"),
        ('{"source": "a", "references": ["b"], "slice": "all"}', "reserved for the whole split"),
        ('{"source": "a", "references": ["b"], "sliec": "x"}', "unknown key 'sliec'"),
        ('{"source": "a", "source": "c", "references": ["b"]}', "duplicate key"),
        ('{"source": "\\ud800", "references": ["b"]}', "surrogate"),
        (json.dumps({"source": "a" * 201, "references": ["b"]}), "more than data.max_source_chars=200"),
        (json.dumps({"source": "a", "references": ["b" * 101]}), "more than data.max_reference_chars=100"),
        (json.dumps({"source": "a", "references": ["b"] * 4}), "more than data.max_references=3"),
    ],
)
def test_a_wrong_line_is_refused_with_its_reason(line: str, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        parse_line(line, LIMITS)
    assert reason in raised.value.got


@given(st.text(max_size=300))
def test_any_text_is_an_example_or_a_data_error(text: str) -> None:
    try:
        example = parse_line(text, LIMITS)
    except DataError:
        return
    assert find_problem(example, LIMITS) is None


@given(
    st.builds(
        Example,
        source=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(has_visible_text),
        references=st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(has_visible_text), min_size=1
        ).map(lambda texts: tuple(texts[:3])),
        slice=st.none() | st.just("seen"),
    )
)
def test_a_written_line_is_parsed_to_the_same_example(example: Example) -> None:
    assert parse_line(format_line(example), DataConfig()) == example


def test_a_split_round_trips_with_line_separators_inside(tmp_path: Path) -> None:
    examples = [Example("one\u2028two\r\nthree\n", ("x\x85y",)), Example("café", ("é",), "unseen")]
    write_split(tmp_path / "deep" / "train.jsonl", examples)
    assert read_split(tmp_path / "deep" / "train.jsonl", LIMITS) == examples


def test_byte_order_mark_blank_lines_and_carriage_returns_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n\r\n" + GOOD.encode())
    assert len(read_split(path, LIMITS)) == 2


def test_an_error_names_file_and_line_of_a_wrong_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f"{GOOD}\n\n{{oops\n")
    with pytest.raises(DataError, match=r"train\.jsonl:3: broken JSON"):
        read_split(path, LIMITS)


def test_an_error_names_the_byte_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes('{"source": "é", "references": ["b"]}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.jsonl:1: not UTF-8: byte 0xe9 at column 13"):
        read_split(path, LIMITS)


def test_an_empty_and_a_missing_split_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    with pytest.raises(DataError, match="no file"):
        read_split(path, LIMITS)
    path.touch()
    with pytest.raises(DataError, match=r"none in .*test\.jsonl"):
        read_split(path, LIMITS)


def test_a_lone_surrogate_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="UTF-8"):
        write_split(tmp_path / "train.jsonl", [Example("\udc00", ("b",))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a", "acme-1", "0", "a" * 63])
def test_dns_labels_are_tenant_ids(text: str) -> None:
    assert check_tenant_id(text) == text


@pytest.mark.parametrize("text", ["", "..", "a/b", "A", "a" * 200, "-a", "a-", "a_b", "a\n", "é", "a.b"])
def test_other_texts_are_not_tenant_ids(text: str) -> None:
    with pytest.raises(DataError, match="DNS label"):
        check_tenant_id(text)


def test_tenants_are_sorted_and_checked(tmp_path: Path) -> None:
    assert list_tenants(tmp_path / "none") == []
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    assert list_tenants(tmp_path) == ["a", "b"]
    (tmp_path / "stray").touch()
    with pytest.raises(DataError, match="stray"):
        list_tenants(tmp_path)
