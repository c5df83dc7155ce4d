"""Files in another format than JSON lines: each is recognised, with one hint."""

import gzip
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.file_hints import find_line_hint, find_whole_file_problem

EXAMPLES = [{"source": f"s{number}", "references": [f"r{number}"]} for number in range(40)]
LINES = "".join(json.dumps(example) + "\n" for example in EXAMPLES)


def zipped() -> bytes:
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        archive.writestr("train.jsonl", LINES)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "got", "fix"),
    [
        (json.dumps(EXAMPLES).encode(), "one JSON array of 40 elements", "jq -c '.[]'"),
        (json.dumps(EXAMPLES, indent=2).encode(), "one JSON array of 40 elements", "jq -c '.[]'"),
        (json.dumps(EXAMPLES, indent=2).replace("}\n]", "},\n]").encode(), "one JSON array of 40", "jq -c '.[]'"),
        (b'[{"source": "a",\n"references": [oops', "one JSON array, not", "jq -c '.[]'"),
        (json.dumps(EXAMPLES[0], indent=2).encode(), "several lines", "jq -c '.'"),
        (json.dumps({"data": EXAMPLES}, indent=1).encode(), "several lines", "jq -c '.data[]'"),
        (LINES.encode("utf-16"), "UTF-16", "iconv -f UTF-16 -t UTF-8"),
        (LINES.encode("utf-16-le"), "UTF-16LE", "iconv -f UTF-16LE"),
        (LINES.encode("utf-16-be"), "UTF-16BE", "iconv -f UTF-16BE"),
        (LINES.encode("utf-32"), "UTF-32", "iconv -f UTF-32"),
        (gzip.compress(LINES.encode()), "gzip", "gunzip"),
        (zipped(), "zip archive", "unpack"),
        (b"PAR1....", "Parquet", "data import parquet"),
        ('{"source": "猫", "references": ["狗"]}\n'.encode("utf-16-le"), "UTF-16LE", "iconv -f UTF-16LE"),
        ('{"source": "猫", "references": ["狗"]}\n'.encode("utf-16-be"), "UTF-16BE", "iconv -f UTF-16BE"),
        (LINES.encode("utf-32-le"), "UTF-32LE", "iconv -f UTF-32LE"),
        (LINES.replace("\n", "\r").encode(), "several JSON objects on one line", "jq -c '.'"),
        (LINES.replace("\n", " ").encode(), "several JSON objects on one line", "jq -c '.'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    ],
)
def test_a_file_of_another_format_has_one_error_with_its_conversion(content: bytes, got: str, fix: str) -> None:
    problem = find_whole_file_problem("acme/train.jsonl", content)
    assert problem is not None
    assert got in problem.got
    assert fix in problem.fix
    assert "acme/train.jsonl" in problem.wanted


@pytest.mark.parametrize(
    "content",
    [
        b"",
        LINES.encode(),
        b"\xef\xbb\xbf" + LINES.encode(),
        b"{\n" + LINES.encode(),
        b"[]",
        LINES.replace("\n", ",\n").encode(),
    ],
)
def test_lines_with_or_without_faults_are_no_other_format(content: bytes) -> None:
    assert find_whole_file_problem("train.jsonl", content) is None


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('{"source": "a", "references": ["b"]},', "end with a comma"),
        ('{"source": "a", "references": ["b"]};', "end with a semicolon"),
        ('{"source": "a", "references": ["b",]}', "a comma before"),
        ('["a", "b"]', "jq -c '. | {source"),
        ('[["a", "b"]]', "jq -c '.[] | {source"),
        ('[{"source": "a", "references": ["b"]}]', "jq -c '.[]'"),
        ("[]", "has no examples"),
        ('{"train": [{"source": "a"}], "n": 1}', "jq -c '.train[]'"),
        ('{"source": "a", "references": ["b"], "id": 3}', "remove other keys"),
        ('{"source": 7, "references": ["b"]}', "write numbers as text"),
        ('{"source": "a", "references": [1.5]}', "write numbers as text"),
        ("{\u201csource\u201d: \u201ca\u201d, \u201creferences\u201d: [\u201cb\u201d]}", "straight double quotes"),
        ('\ufeff{"source": "a", "references": ["b"]}', "byte order marks"),
        ("{'source': 'a', 'references': ['b']}", "single quotes"),
        ('{"source": "a", "references": ["b"]}{"source": "c", "references": ["d"]}', "several objects on one line"),
        ('{"source": "a", "references": ["b"]}\r{"source": "c", "references": ["d"]}', "end with \\r alone"),
        ('{"source": "a", "references": ["b"]} x', ""),
        ("source,references", "data import csv FILE"),
        ("source;references", "data import csv FILE"),
        ("source\treferences", "data import tsv FILE"),
        ('{"messages": [{"role": "user", "content": "hi"}], "id": 1}', "data import openai"),
        ('{"conversations": []}', "data import sharegpt"),
        ('{"source": "a", "references": "b"}', 'write "references": ["..."]'),
        ('{"prompt": "a", "completion": "b"}', "the keys 'prompt', 'completion'"),
        ('{"source": "a", "references": []}', ""),
        ("oops", ""),
    ],
)
def test_a_line_hints_at_its_format(line: str, hint: str) -> None:
    found = find_line_hint(line.encode())
    assert hint in found
    assert bool(hint) == bool(found)


def test_a_line_in_another_encoding_has_its_conversion() -> None:
    assert "iconv -f WINDOWS-1252" in find_line_hint(LINES.replace("s1", "caf\u00e9").encode("latin-1"))


@given(st.binary())
def test_any_bytes_give_a_hint_or_none(content: bytes) -> None:
    find_whole_file_problem("train.jsonl", content)
    find_line_hint(content)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a":' * 50_000, "(" * 5_000, "{'a': " + "9" * 5_000 + "}"])
def test_deep_nesting_and_long_numbers_give_no_other_error(line: str) -> None:
    find_whole_file_problem("train.jsonl", line.encode())
    find_line_hint(line.encode())
