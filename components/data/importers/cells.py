"""Turns rows of a table into examples: which columns are source, references and slice, and cells as text.

Text stays as the file has it. Numbers, true and false become text as they are written; lists give several references.
Knows no file format.
"""

import datetime
import difflib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from components.data.schema import Example
from components.errors import DataError

CHAT_COLUMNS = ("messages", "conversations")
"""Names that columns with messages usually have."""
_SHOWN_CHARS = 80
_CHAT_FIX = "name the column with messages: -o messages_field=COLUMN (without --source-field)"
_LOGGER = "prefixfleet"
_MESSAGE_KEYS = ({"role", "content"}, {"from", "value"})


class NumberText(str):
    """A number of a JSON file, exactly as it is written there."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """The columns to read; `references` names one or several."""

    source: str
    references: tuple[str, ...]
    slice: str = ""
    messages: str = ""
    """The column with the messages of conversations; "": found by its name."""

    @classmethod
    def parse(cls, source_field: str, reference_field: str, slice_field: str, messages_field: str = "") -> "Fields":
        """Return the columns that the options name; `reference_field` may join several by commas."""
        references = tuple(name.strip() for name in reference_field.split(","))
        return cls(source_field, references, slice_field, messages_field)

    @property
    def columns(self) -> list[str]:
        """The columns in the order source, references, slice."""
        return [self.source, *self.references, *([self.slice] if self.slice else [])]


@dataclass(frozen=True)
class Table:
    """The rows of one file: (where, column -> cell)."""

    name: str
    columns: Sequence[str]
    rows: Iterable[tuple[str, Mapping[str, Any]]]


def make_examples(table: Table, fields: Fields) -> list[Example]:
    """Return one example a row, with all references of the row; empty cells beside a reference are left out.

    Raises:
        DataError: a column is missing, or a cell is no text and cannot be written as text.

    """
    _require_columns(table, fields)
    reader = _CellReader()
    examples = list(_iterate_examples(table, fields, reader))
    if reader.converted:
        logging.getLogger(_LOGGER).info(
            "%s: %s cells that are numbers, dates, true or false were written as text, such as %r",
            table.name,
            f"{reader.converted:,}",
            reader.first,
        )
    return examples


def _require_columns(table: Table, fields: Fields) -> None:
    for column in fields.columns:
        if column in table.columns:
            continue
        shown = ", ".join(repr(name) for name in table.columns[:20]) or "none"
        near = difflib.get_close_matches(column, table.columns, n=1, cutoff=0.5)
        fix = "name the columns with --source-field and --reference-field"
        fix = f"did you mean {near[0]!r}? {fix}" if near else fix
        raise DataError(f"a column {column!r} in {table.name}", f"the columns {shown}", fix)


def _iterate_examples(table: Table, fields: Fields, reader: "_CellReader") -> Iterator[Example]:
    for where, row in table.rows:
        cells = [(column, row.get(column)) for column in fields.references]
        texts = [
            reader.read(cell, where, column).strip()
            for column, value in cells
            for cell in (value if isinstance(value, list) and not _is_chat(value) else [value])
        ]
        part = reader.read(row.get(fields.slice), where, fields.slice) if fields.slice else ""
        source = reader.read(row.get(fields.source), where, fields.source)
        yield Example(source, tuple(filter(None, texts)) or tuple(texts[:1]), part or None)


class _CellReader:
    """Reads cells as text, and counts those that were none."""

    def __init__(self) -> None:
        self.converted = 0
        self.first = ""

    def read(self, cell: Any, where: str, column: str) -> str:
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return ""
        if isinstance(cell, str) and not isinstance(cell, NumberText):
            return cell
        text = _write_cell(cell)
        if text is None:
            raise _make_cell_error(cell, where, column)
        self.converted += 1
        self.first = self.first or text[:_SHOWN_CHARS]
        return text


def _write_cell(cell: Any) -> str | None:
    """Return a number, truth value, date, time or UTF-8 bytes as text; None for anything else."""
    match cell:
        case bool():
            return "true" if cell else "false"
        case NumberText() | int() | float() | Decimal():
            return str(cell)
        case datetime.date() | datetime.time():
            return cell.isoformat()
        case bytes():
            return _decode(cell)
    return None


def _decode(cell: bytes) -> str | None:
    """Return text that a Parquet file stores as bytes, as some writers do; None for other bytes."""
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _make_cell_error(cell: Any, where: str, column: str) -> DataError:
    shown = repr(cell)
    shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[: _SHOWN_CHARS - 3]}..."
    got = f"{type(cell).__name__} {shown} in column {column!r} of {where}"
    fix = _CHAT_FIX if _is_chat(cell) else "name another column, or convert this one to text"
    return DataError("cells with text", got, fix)


def _is_chat(cell: Any) -> bool:
    return (
        isinstance(cell, list)
        and bool(cell)
        and isinstance(cell[0], dict)
        and any(keys <= set(cell[0]) for keys in _MESSAGE_KEYS)
    )
