"""Reads text of cells with a delimiter (CSV, TSV) as a table of text. Knows no file and no data set."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from components.data.importers.cells import Table
from components.errors import DataError

_EXCEL_SEPARATOR = re.compile(r"sep=(.)\r?\n")
"""A first line that names the delimiter, as spreadsheets write it."""
_DELIMITERS = {"csv": (",", ";", "\t", "|"), "tsv": ("\t",)}


def read_delimited(kind: str, name: str, text: str, columns: Sequence[str], delimiter: str = "") -> Table:
    """Read a text of the format `kind`, csv or tsv. Without `delimiter`: the one that finds most of `columns`.

    Raises:
        DataError: a column is double, a row has too many or too few cells, or quotes are broken.

    """
    csv.field_size_limit(sys.maxsize)
    if named := _EXCEL_SEPARATOR.match(text):
        text, delimiter = text[named.end() :], delimiter or named[1]
    delimiters = (delimiter,) if delimiter else _DELIMITERS[kind]
    best = max(delimiters, key=lambda one: _rate_header(text, one, columns))
    quoting = csv.QUOTE_NONE if kind == "tsv" and _has_plain_quotes(text, best) else csv.QUOTE_MINIMAL
    return _read_rows(name, text, best, quoting)


def _rate_header(text: str, delimiter: str, columns: Sequence[str]) -> tuple[int, int]:
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return (0, 0)
    names = [name.strip() for name in header]
    return (sum(column in names for column in columns), len(names))


def _has_plain_quotes(text: str, delimiter: str) -> bool:
    """Return whether the quotes of a TSV file are part of the text, as its registered format has them.

    They are if every line has as many cells as the header, and with quotes read as marks the file would be broken or
    lines would be joined.
    """
    if '"' not in text:
        return False
    plain = [line.rstrip("\n").split(delimiter) for line in io.StringIO(text, newline=None) if line.strip()]
    if any(len(cells) != len(plain[0]) for cells in plain):
        return False
    try:
        quoted = sum(
            1 for cells in csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter) if cells
        )
    except csv.Error:
        return True
    return quoted < len(plain)


def _read_rows(name: str, text: str, delimiter: str, quoting: Any) -> Table:
    # "a", "b": a space before a quote is not text, and the quotes mark the cell.
    spaced = re.search(rf'(?:^|{re.escape(delimiter)}) +"[^"\n]*"(?:{re.escape(delimiter)}|\r?$)', text, re.MULTILINE)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        strict=True,
        delimiter=delimiter,
        quoting=quoting,
        skipinitialspace=spaced is not None,
    )
    rows: list[tuple[str, Mapping[str, Any]]] = []
    header: list[str] = []
    begins = 1
    try:
        header = [column.strip() for column in next(reader, [])]
        _require_distinct(name, header)
        begins = reader.line_num + 1
        for cells in reader:
            where = f"{name}, line {begins}"
            begins = reader.line_num + 1
            if not any(map(str.strip, cells)):
                continue
            if len(cells) != len(header):
                got = f"{len(cells)} cells in {where}, and {len(header)} columns"
                fix = f"put cells that contain {delimiter!r}, quotes or line breaks into double quotes"
                raise DataError(f"as many cells as columns, separated by {delimiter!r}", got, fix)
            rows.append((where, dict(zip(header, cells, strict=True))))
    except csv.Error as problem:
        got = f"{name}, in the row that begins at line {begins}: {problem}"
        fix = 'write a double quote inside a quoted cell twice (""), and close every quoted cell'
        raise DataError("cells whose double quotes are closed", got, fix) from None
    return Table(name, header, rows)


def _require_distinct(name: str, header: Sequence[str]) -> None:
    if double := [column for column, count in Counter(header).items() if count > 1 and column]:
        raise DataError("columns with different names", f"{double[0]!r} twice in {name}", "rename one of the two")
