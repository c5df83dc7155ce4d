"""Recognises what a file is that does not hold examples as JSON lines, and how to convert it. Knows no drop."""

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from components.errors import DataError

_MAGIC = (
    (b"\x1f\x8b", "gzip data", "uncompress it: gunzip < FILE > NEW"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or save the spreadsheet as CSV in UTF-8"),
    (b"BZh", "bzip2 data", "uncompress it: bunzip2 < FILE > NEW"),
    (b"\xfd7zXZ\x00", "xz data", "uncompress it: unxz < FILE > NEW"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "uncompress it: unzstd < FILE > NEW"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull"),
    (b"PAR1", "a Parquet file", "import it: prefixfleet data import parquet FILE --tenant TENANT"),
)
_MAX_GUESSED_CHARS = 100_000
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_CHAT_IMPORT = "import it, which converts other forms of chats: prefixfleet data import openai FILE --tenant TENANT"
_SHAREGPT_IMPORT = "this looks like ShareGPT; import it: prefixfleet data import sharegpt FILE --tenant TENANT"


def find_whole_file_problem(name: str, content: bytes) -> DataError | None:
    """Return the error for a file none of whose lines can be an example: another format, encoding or layout."""
    if problem := find_binary_problem(name, content, "JSON lines in UTF-8"):
        return problem
    if encoding := detect_wide_encoding(content):
        fix = f"convert it: iconv -f {encoding} -t UTF-8 FILE > NEW"
        return DataError(f"JSON lines in UTF-8 in {name}", f"text in {encoding}", fix)
    text = content.decode("utf-8-sig", "replace").lstrip()
    first_line = text.partition("\n")[0]
    if (text.startswith("[") and _parse(first_line) is None) or isinstance(_parse_list(text), list):
        values = _parse_list(text) or _parse_list(_TRAILING_COMMA.sub(r"\1", text))
        got = f"one JSON array{f' of {len(values):,} elements' if values else ''}, not JSON lines"
        return DataError(f"one JSON object a line in {name}", got, "write one object a line: jq -c '.[]' FILE > NEW")
    if text.startswith("{") and _parse(first_line) is None and (value := _parse_first(text)) is not None:
        if _parse_first(first_line) is not None:
            return _find_objects_on_one_line(name, first_line)
        lists = _find_lists_of_objects(value)
        inner = f".{lists[0]}[]" if lists and "source" not in value else "."
        got = "JSON objects of several lines each"
        return DataError(f"one JSON object a line in {name}", got, f"write one a line: jq -c '{inner}' FILE > NEW")
    return None


def _find_objects_on_one_line(name: str, line: str) -> DataError | None:
    """Return the error for a line of several objects; None if other text follows its first object."""
    _, end = json.JSONDecoder().raw_decode(line)
    if not line[end:].lstrip().startswith("{"):
        return None
    got = "several JSON objects on one line"
    return DataError(f"one JSON object a line in {name}", got, "write one a line: jq -c '.' FILE > NEW")


def find_binary_problem(name: str, content: bytes, wanted: str) -> DataError | None:
    """Return the error for compressed data, an archive or a Parquet file instead of `wanted`; None for others."""
    for magic, kind, fix in _MAGIC:
        if content.startswith(magic):
            return DataError(f"{wanted} in {name}", kind, fix)
    return None


def find_line_hint(line: bytes) -> str:
    """Return what a rejected line probably is and what to do with the file; "" if it is nothing known."""
    if _guard(lambda _: line.decode("utf-8"), "") is None:
        return "convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW (or from the encoding that it has)"
    text = line.decode("utf-8").strip()
    if text.startswith("\ufeff") and isinstance(_parse(text.lstrip("\ufeff")), dict):
        return (
            "several files with byte order marks were joined; remove the marks: sed 's/^\\xEF\\xBB\\xBF//' FILE > NEW"
        )
    text = text.removeprefix("\ufeff")
    if len(text) > _MAX_GUESSED_CHARS:
        return ""
    value = _parse(text)
    if value is None:
        return _find_syntax_hint(text)
    if isinstance(value, list):
        return _find_list_hint(value)
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("conversations"), list):
        return _SHAREGPT_IMPORT
    if isinstance(value.get("messages"), list):
        return _CHAT_IMPORT if set(value) - {"messages", "tools", "slice"} else ""
    if "source" in value and isinstance(value.get("references"), str):
        return 'references is a list: write "references": ["..."]'
    if "source" in value and isinstance(value.get("references"), list):
        return _find_values_hint(value)
    if "source" not in value and (lists := _find_lists_of_objects(value)):
        return f"the examples are in a list inside of the object: jq -c '.{lists[0]}[]' FILE > NEW"
    keys = [key for key, inner in value.items() if isinstance(inner, str | list)]
    if len(keys) >= 2:
        shown = ", ".join(repr(key) for key in list(value)[:6])
        command = "prefixfleet data import jsonl FILE --tenant TENANT --source-field KEY --reference-field KEY"
        return f"the lines have the keys {shown}; name the two to use: {command}"
    return ""


def _find_list_hint(values: list[Any]) -> str:
    if not values:
        return "an empty list has no examples: remove the line"
    if isinstance(values[0], dict):
        return "lists of objects: write one object a line (jq -c '.[]' FILE > NEW)"
    lines = ".[]" if isinstance(values[0], list) else "."
    return (
        "lists without keys; name their parts, such as: "
        f"jq -c '{lines} | {{source: .[0], references: .[1:]}}' FILE > NEW"
    )


def _find_values_hint(value: dict[str, Any]) -> str:
    """Return the hint for a line with both keys: other keys, or numbers in place of text."""
    if set(value) - {"source", "references", "slice"}:
        return "a line has source, references and perhaps slice: remove other keys (jq -c '{source, references}')"
    if any(isinstance(one, int | float) for one in (value["source"], *value["references"])):
        return "write numbers as text in quotes, or import the file: prefixfleet data import jsonl FILE --tenant TENANT"
    return ""


def _find_lists_of_objects(value: dict[str, Any]) -> list[str]:
    return [key for key, inner in value.items() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]


def detect_wide_encoding(content: bytes) -> str | None:
    """Return UTF-32 or UTF-16 with its byte order if the content begins like that; None otherwise.

    Without a byte order mark: if it begins with ASCII characters, or with one bracket, as JSON does.
    """
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "UTF-32"),
        (b"\x00\x00\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if content.startswith(mark) and len(content) > len(mark):
            return encoding
    for start, encoding in ((b"\0\0\0", "UTF-32BE"), (b"\0", "UTF-16BE"), (b"", "UTF-32LE"), (b"", "UTF-16LE")):
        width = 4 if "32" in encoding else 2
        if content[:width] in [start + bracket + b"\0" * (width - 1 - len(start)) for bracket in (b"{", b"[")]:
            return encoding
    head = content[:64]
    if len(head) >= 4 and head[1::2].count(0) == len(head) // 2 and 0 not in head[::2]:
        return "UTF-16LE"
    if len(head) >= 4 and head[::2].count(0) == (len(head) + 1) // 2 and 0 not in head[1::2]:
        return "UTF-16BE"
    return None


def _find_syntax_hint(text: str) -> str:
    if _parse_first(text) is not None:
        if "\r" in text:
            return "lines end with \\r alone: tr '\\r' '\\n' < FILE > NEW"
        if text.endswith("}"):
            return "several objects on one line: write each on a line of its own (jq -c . FILE > NEW)"
        if not text.endswith((",", ";")):
            return ""
    if text.endswith((",", ";")) and isinstance(_parse(text[:-1]), dict):
        mark = "comma" if text.endswith(",") else "semicolon"
        return f"the lines end with a {mark}: remove it (sed 's/{text[-1]}$//' FILE > NEW)"
    if isinstance(_parse(_TRAILING_COMMA.sub(r"\1", text)), dict):
        return "a comma before } or ]: remove it"
    if "'" in text and isinstance(_guard(ast.literal_eval, text), dict):
        return "single quotes, as Python writes them: write JSON with double quotes (json.dumps)"
    if "\u201c" in text and isinstance(_parse(text.replace("\u201c", '"').replace("\u201d", '"')), dict):
        return "typographic quotes: write JSON with straight double quotes"
    if not text.startswith(("{", "[")) and max(map(text.count, (",", ";", "\t"))) >= 1:
        kind = "tsv" if "\t" in text else "csv"
        command = f"prefixfleet data import {kind} FILE --tenant TENANT --source-field COLUMN --reference-field COLUMN"
        return f"this looks like a table with separators; import it: {command}"
    return ""


def _parse(text: str) -> Any:
    return _guard(json.loads, text)


def _parse_list(text: str) -> Any:
    """Return the elements if the whole text is one array with objects."""
    value = _parse(text) if text.startswith("[") else None
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else None


def _parse_first(text: str) -> Any:
    value = _guard(lambda given: json.JSONDecoder().raw_decode(given)[0], text)
    return value if isinstance(value, dict) else None


def _guard(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
