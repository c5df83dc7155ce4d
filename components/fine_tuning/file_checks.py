"""Checks the content of an uploaded file, and reads its examples: OpenAI's fine-tuning lines, or the lines of a drop.

Every line must be a valid example; the first that is not is named. Knows no folder and no database.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.config import DataConfig
from components.data.file_hints import find_whole_file_problem
from components.data.importers.cells import Fields, Table
from components.data.importers.chats import make_conversations
from components.data.schema import Example, decode_example, decode_line, require_valid, split_numbered_lines
from components.errors import DataError
from components.storage.atomic_files import convert_disk_errors

_CHAT_KEYS = ("messages", "tools", "functions", "parallel_tool_calls")
_PROMPT_KEYS = ("prompt", "completion")
_FORM = 'a line {"messages": [...]}, {"prompt": str, "completion": str} or {"source": str, "references": [str, ...]}'
_FIELDS = Fields.parse("source", "references", "", "messages")


def read_examples(path: Path, name: str, limits: DataConfig) -> list[Example]:
    """Return the examples of a file; see `iterate_examples`."""
    return list(iterate_examples(path, name, limits))


def iterate_examples(path: Path, name: str, limits: DataConfig) -> Iterator[Example]:
    """Yield the examples of a file; `name` is what errors call it.

    Raises:
        DataError: it is no file of JSON lines in UTF-8, it has no line, or a line is no valid example.
        WorkspaceError: it cannot be read.
    """
    with convert_disk_errors(f"read {path}"):
        content = path.read_bytes()
    if problem := find_whole_file_problem(name, content):
        raise problem
    number = 0
    for number, line in split_numbered_lines(content):
        yield _read_line(line, name, number, limits)
    if not number:
        raise DataError("a file with one example a line", f"no line in {name}", "add examples")


def _read_line(line: bytes, name: str, number: int, limits: DataConfig) -> Example:
    try:
        return require_valid(_parse(decode_line(line), name), limits)
    except DataError as problem:
        raise DataError(problem.wanted, f"{name}, line {number}: {problem.got}", problem.fix) from None


def _parse(text: str, name: str) -> Example:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError(_FORM, f"broken JSON ({problem})", "write one JSON object per line") from None
    if not isinstance(values, dict):
        raise DataError(_FORM, f"JSON of type {type(values).__name__}", "write one JSON object per line")
    if "messages" in values:
        _check_keys(values, _CHAT_KEYS)
        columns = list(values)
        return make_conversations(Table(name, columns, [("", values)]), "messages", _FIELDS)[0]
    if "prompt" in values or "completion" in values:
        _check_keys(values, _PROMPT_KEYS)
        for key in _PROMPT_KEYS:
            if not isinstance(values.get(key), str):
                raise DataError(_FORM, f"no text {key!r}", f"write {key} as a string")
        return Example(values["prompt"], (values["completion"],))
    return decode_example(text)


def _check_keys(values: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := [key for key in values if key not in known]:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"use only {', '.join(known)}"
        raise DataError(_FORM, f"unknown key {unknown[0]!r}", fix)
