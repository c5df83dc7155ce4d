"""Read files of predictions or references: JSON lines, TSV or CSV with or without a header, or lines of text.

Every row keeps its line number. The meaning of a column is recognised by its name. Knows no suite.
"""

import csv
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.file_hints import detect_wide_encoding, find_binary_problem
from components.data.schema import decode_line
from components.errors import DataError

INPUT_COLUMN = re.compile(
    r"(mr|src|source|input|meaning([ _.-]?rep(resentation)?)?|da|dial(ogue)?[ _.-]act|document|dialogue|article)s?",
    re.I,
)
OUTPUT_COLUMNS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        r"predictions?|predicted",
        r"(sys(tem)?[ _.-]?)?out(put)?s?([ _.-]?text)?",
        r"(text|generated([ _.-]?text)?|hyp(othesis)?|candidate|sys(tem)?|summary|utterance|response)s?",
        r"ref(erence)?s?",
    )
)
REFERENCE_COLUMN = re.compile(
    r"(ref(erence)?|trg|tgt|target|human([ _.-]?ref(erence)?)?|summary|lex)s?[ _.-]?\d*", re.I
)

_TABLE_SUFFIXES = (".csv", ".tsv")
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row with its line number (from 1).

    `values` are by column name, empty without a header; `cells` are in the file's order, empty for JSON.
    """

    line_number: int
    values: Mapping[str, Any]
    cells: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows. `kind` is json, table, headless or lines; `columns` are from the header or the first JSON row."""

    path: Path
    kind: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path) -> Table:
    """Read a file; its suffix and its first line decide its kind.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or has an invalid line.

    """
    return parse_table(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: the file does not exist or cannot be read.

    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("a file", f"nothing at {path}", "correct the path") from None
    except OSError as problem:
        raise DataError("a file", f"{path}: {problem.strerror}", "correct the path or the file's permissions") from None


def parse_table(path: Path, content: bytes) -> Table:
    """Parse the content of a file as `read_table` does.

    Raises:
        DataError: the content is not UTF-8 or has an invalid line.

    """
    lines = _decode_lines(path, content)
    first = next((line for line in lines if line.strip()), "")
    suffix = path.suffix.lower()
    if suffix in _JSON_SUFFIXES or _is_json_object(first):
        return _parse_json_rows(path, lines)
    header = _split_cells(first)
    if suffix in _TABLE_SUFFIXES or (any(map(INPUT_COLUMN.fullmatch, header)) and _has_text_column(header)):
        return _parse_delimited(
            path, lines, headed=_has_text_column(header) or any(map(INPUT_COLUMN.fullmatch, header))
        )
    return Table(path, "lines", (), tuple(TableRow(number, {}, (line,)) for number, line in enumerate(lines, 1)))


def find_column(table: Table, named: str | None, patterns: Sequence[re.Pattern[str]], meaning: str) -> str:
    """Return the column called `named`; if that is None, the first column that matches the earliest possible pattern.

    `meaning` describes the column in the error.

    Raises:
        DataError: there is no such column.

    """
    columns = table.columns
    if named is not None:
        if match := next((column for column in columns if column.lower() == named.lower()), None):
            return match
        near = difflib.get_close_matches(named, columns, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "name one of these columns"
        raise DataError(f"a column {named!r}", f"{_describe_columns(columns)} in {table.path}", fix)
    for pattern in patterns:
        if match := next((column for column in columns if pattern.fullmatch(column)), None):
            return match
    option = "--reference-column" if meaning == "references" else "--column"
    raise DataError(f"a column of {meaning}", f"{_describe_columns(columns)} in {table.path}", f"name it with {option}")


def find_input_column(table: Table) -> str | None:
    """Return the column of the inputs, or None if there is none."""
    return next((column for column in table.columns if INPUT_COLUMN.fullmatch(column)), None)


def _describe_columns(columns: Sequence[str]) -> str:
    return f"the columns {', '.join(columns)}" if columns else "no named column"


def _is_json_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _has_text_column(header: Sequence[str]) -> bool:
    return any(pattern.fullmatch(cell) for pattern in (*OUTPUT_COLUMNS, REFERENCE_COLUMN) for cell in header)


def _decode_lines(path: Path, content: bytes) -> list[str]:
    if problem := find_binary_problem(str(path), content, "text in UTF-8"):
        raise problem
    if encoding := detect_wide_encoding(content):
        fix = f"save the file as UTF-8: iconv -f {encoding} -t UTF-8 FILE > NEW"
        raise DataError("text in UTF-8", f"{encoding} in {path}, line 1", fix)
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    decoded = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        try:
            decoded.append(decode_line(line.removesuffix(b"\r")))
        except DataError as problem:
            raise DataError(problem.wanted, f"{path}, line {number}: {problem.got}", problem.fix) from None
    return decoded


def _split_cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=_find_delimiter(line)), [])]
    except csv.Error:  # a carriage return within the line, or more text than a cell may have
        return [line]


def _find_delimiter(line: str) -> str:
    return next((delimiter for delimiter in "\t,;" if delimiter in line), ",")


def _parse_delimited(path: Path, lines: Sequence[str], *, headed: bool) -> Table:
    rows = _read_cells(path, lines)
    header = tuple(cell.strip() for cell in rows[0][1]) if headed and rows else ()
    for line, cells in rows:
        if len(cells) != len(rows[0][1]):
            got = f"{len(cells)} in {path}, line {line}"
            raise DataError(f"{len(rows[0][1])} cells in each row", got, "quote cells that contain the separator")
    body = rows[1:] if headed else rows
    parsed = [TableRow(line, dict(zip(header, cells, strict=True)) if headed else {}, cells) for line, cells in body]
    return Table(path, "table" if headed else "headless", header, tuple(parsed))


def _read_cells(path: Path, lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    not_empty = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    delimiter = _find_delimiter(not_empty[0][1]) if not_empty else ","
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    rows, start = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((start, [cell.rstrip("\n") for cell in cells]))
            start = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(
            "a valid CSV or TSV table", f"{path}, line {reader.line_num}: {problem}", "quote its cells"
        ) from None
    split = [(number, line.split("\t")) for number, line in not_empty]
    if delimiter == "\t" and len(rows) != len(not_empty) and len({len(cells) for _, cells in split}) == 1:
        return split  # the table is not quoted: a quotation mark at the start of a cell is part of the text
    return rows


def _parse_json_rows(path: Path, lines: Sequence[str]) -> Table:
    whole = "\n".join(lines).strip()
    if whole.startswith("["):
        values = [(1, one) for one in _parse_json(path, 1, whole)]
    else:
        values = [(number, _parse_json(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    rows = []
    for number, value in values:
        if not isinstance(value, str | dict):
            got = f"JSON of type {type(value).__name__} in {path}, line {number}"
            raise DataError("one JSON object or string in each line", got, "correct the line")
        rows.append(TableRow(number, {"text": value} if isinstance(value, str) else value))
    return Table(path, "json", tuple(rows[0].values) if rows else (), tuple(rows))


def _parse_json(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError("JSON", f"{path}, line {line}: {problem}", "correct the line") from None
