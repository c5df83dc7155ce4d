"""Rows of the files that predictions and references come in: JSON lines, TSV or CSV with or without a header, or lines.

Every row keeps the number of its line. Which column means what is told by its name. Knows no suite.
"""

import csv
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """One row, the number of its line from 1, and its values by column; the columns of a headless table are None."""

    line_number: int
    values: Mapping[str, Any]
    cells: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows. `kind` is json, table, headless or lines; `columns` are those of the first row or header."""

    path: Path
    kind: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path) -> Table:
    """Read a file; its name's ending and its first line tell what it is.

    Raises:
        DataError: it cannot be read, is not UTF-8, or has a broken line.

    """
    return parse_table(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: it is not there or cannot be read.

    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("a file", f"nothing at {path}", "correct the path") from None
    except OSError as problem:
        raise DataError("a file", f"{path}: {problem.strerror}", "correct the path or its rights") from None


def parse_table(path: Path, content: bytes) -> Table:
    """What `read_table` says of a file's content.

    Raises:
        DataError: as `read_table`.

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
    """The column called `named`, or else the first that the earliest of the patterns that fits any names.

    Raises:
        DataError: there is none.

    """
    columns = table.columns
    if named is not None:
        if found := next((column for column in columns if column.lower() == named.lower()), None):
            return found
        near = difflib.get_close_matches(named, columns, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "name one of its columns"
        raise DataError(f"a column {named!r}", f"{_describe_columns(columns)} in {table.path}", fix)
    for pattern in patterns:
        if found := next((column for column in columns if pattern.fullmatch(column)), None):
            return found
    raise DataError(
        f"a column of {meaning}", f"{_describe_columns(columns)} in {table.path}", "name it with the column option"
    )


def find_input_column(table: Table) -> str | None:
    """The column that names the inputs, where there is one."""
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
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("text in UTF-8", f"UTF-16 in {path}, line 1", "save the file as UTF-8")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    decoded = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        try:
            decoded.append(decode_line(line.removesuffix(b"\r")))
        except DataError as problem:
            raise DataError(problem.wanted, f"{path}, line {number}: {problem.got}", problem.fix) from None
    return decoded


def _split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=_find_delimiter(line)), [])]


def _find_delimiter(line: str) -> str:
    return "\t" if "\t" in line else ","


def _parse_delimited(path: Path, lines: Sequence[str], *, headed: bool) -> Table:
    rows = _read_cells(path, lines)
    header = tuple(cell.strip() for cell in rows[0][1]) if headed and rows else ()
    for line, cells in rows:
        if len(cells) != len(rows[0][1]):
            got = f"{len(cells)} in {path}, line {line}"
            raise DataError(f"{len(rows[0][1])} cells a row", got, "quote cells that hold the separator")
    body = rows[1:] if headed else rows
    made = tuple(TableRow(line, dict(zip(header, cells, strict=True)) if headed else {}, cells) for line, cells in body)
    return Table(path, "table" if headed else "headless", header, made)


def _read_cells(path: Path, lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    full = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    delimiter = _find_delimiter(full[0][1]) if full else ","
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    rows, start = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((start, [cell.rstrip("\n") for cell in cells]))
            start = reader.line_num + 1
    except csv.Error as problem:
        raise DataError("a table", f"{path}, line {reader.line_num}: {problem}", "quote its cells") from None
    split = [(number, line.split("\t")) for number, line in full]
    if delimiter == "\t" and len(rows) != len(full) and len({len(cells) for _, cells in split}) == 1:
        return split  # a quote that opens a text of an unquoted table is no quoting
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
            raise DataError("JSON objects or texts, one a line", got, "correct the line")
        rows.append(TableRow(number, {"text": value} if isinstance(value, str) else value))
    return Table(path, "json", tuple(rows[0].values) if rows else (), tuple(rows))


def _parse_json(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError("JSON", f"{path}, line {line}: {problem}", "correct the line") from None
