"""References from the files that test sets come in, grouped by input: tables, JSON lines, lines, or a release as it is.

A release (E2E's zip, WebNLG's or DART's archive or folder) is read by the project's importers, WebNLG's slices with it.
Knows no predictions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.importers.dart import import_dart
from components.data.importers.sources import files_of, split_of
from components.data.importers.webnlg import import_webnlg
from components.data.schema import Example
from components.errors import DataError
from components.evaluation.suites.tables import REFERENCE, Row, Table, column_of, input_column, read_table, table_of

_ARCHIVES = (".zip", ".tar", ".tgz", ".xz", ".gz", ".bz2")
_WEBNLG_TEST = "testdata_with_lex.xml"


@dataclass(frozen=True, slots=True)
class References:
    """The references of each example in order, the line where they start, and inputs and slices where there are any."""

    path: Path
    texts: Sequence[Sequence[str]]
    lines: Sequence[int]
    inputs: Sequence[str] | None = None
    slices: Sequence[str | None] | None = None
    rows: int = 0


def read_references(paths: Sequence[Path], suite: str, column: str | None = None, split: str = "test") -> References:
    """Read references of a suite; several paths are files of lines side by side, where an empty line is no reference.

    Rows with the same input are one example, placed where it first stands. Lines are one reference each, or groups
    where blank lines part them. A table without a header has only references, or in E2E inputs and references.

    Raises:
        DataError: a file cannot be read, has no such column or split, or an example has no reference.

    """
    if len(paths) > 1:
        return _checked(_parallel([read_table(path) for path in paths]))
    path = paths[0]
    if (release := _release(path, suite, split)) is not None:
        return _checked(release)
    table = read_table(path)
    if table.kind == "lines":
        return _checked(_lines(table))
    return _checked(_rows(table, suite, column))


def _release(path: Path, suite: str, split: str) -> References | None:
    suffix = path.suffix.lower()
    if suite == "webnlg" and (path.is_dir() or suffix in (*_ARCHIVES, ".xml")):
        return _examples(path, import_webnlg(str(_webnlg_folder(path))), split)
    if suite == "dart" and (path.is_dir() or suffix in (*_ARCHIVES, ".json")):
        return _examples(path, import_dart(str(path)), split)
    if path.is_dir() or suffix in _ARCHIVES:
        return _tables_inside(path, suite, split)
    return None


def _webnlg_folder(path: Path) -> Path:
    if path.suffix.lower() != ".xml":
        return path
    release = path.resolve().parent.parent
    if path.name != _WEBNLG_TEST or not (release / "train").is_dir():
        fix = "give the archive or the release's folder, whose train part tells which categories are seen"
        raise DataError(f"WebNLG's release around test/{_WEBNLG_TEST}", str(path), fix)
    return release


def _examples(path: Path, splits: dict[str, list[Example]], split: str) -> References:
    if not (found := splits.get(split)):
        raise DataError(f"the split {split!r} in {path}", f"{', '.join(splits) or 'none'}", "name another split")
    slices = [example.slice for example in found]
    texts = [example.references for example in found]
    own = slices if any(slices) else None
    return References(path, texts, range(1, len(found) + 1), [example.source for example in found], own)


def _tables_inside(path: Path, suite: str, split: str) -> References:
    for name, content in files_of(str(path), ".csv", ".tsv", ".jsonl").items():
        if split_of(name.rsplit("/", 1)[-1]) == split:
            table = table_of(path / name, content)
            if _reference_columns(table):
                return _rows(table, suite, None)
    raise DataError(f"a {split} file with references in {path}", "none", "name the file itself, or another split")


def _rows(table: Table, suite: str, column: str | None) -> References:
    named = input_column(table)
    if table.kind == "headless":
        if column is not None:
            column_of(table, column, (), "references")
        split_off = suite == "e2e" and len(table.rows[0].cells) == 2
        inputs = [row.cells[0] for row in table.rows] if split_off else None
        texts = [list(row.cells[1 if split_off else 0 :]) for row in table.rows]
    else:
        columns = [column_of(table, column, (), "references")] if column else _reference_columns(table)
        if not columns:
            column_of(table, None, (REFERENCE,), "references")
        inputs = [_text(table, row, row.values.get(named)) for row in table.rows] if named is not None else None
        texts = [[text for each in columns for text in _texts(table, row, row.values.get(each))] for row in table.rows]
    slices = [_slice(table, row) for row in table.rows] if "slice" in table.columns else None
    return _grouped(table, texts, inputs, slices, together="references" not in table.columns)


def _reference_columns(table: Table) -> list[str]:
    if "references" in table.columns:
        return ["references"]
    return [column for column in table.columns if REFERENCE.fullmatch(column)]


def _grouped(
    table: Table,
    texts: Sequence[Sequence[str]],
    inputs: Sequence[str] | None,
    slices: Sequence[str | None] | None,
    *,
    together: bool,
) -> References:
    lines = [row.line for row in table.rows]
    if inputs is None or not together:
        cleaned = [_full(own) for own in texts]
        return References(table.path, cleaned, lines, inputs, slices, len(lines))
    groups: dict[str, list[str]] = {}
    starts: dict[str, int] = {}
    for number, key in enumerate(inputs):
        groups.setdefault(key, []).extend(_full(texts[number]))
        starts.setdefault(key, number)
    own = None if slices is None else [slices[number] for number in starts.values()]
    started = [lines[number] for number in starts.values()]
    return References(table.path, list(groups.values()), started, list(groups), own, len(lines))


def _lines(table: Table) -> References:
    groups: list[list[str]] = []
    starts: list[int] = []
    open_group = False
    parted = any(not row.cells[0].strip() for row in table.rows[: _last(table)])
    for row in table.rows:
        text = row.cells[0].strip()
        if text and not (parted and open_group):
            groups.append([])
            starts.append(row.line)
        if text:
            groups[-1].append(text)
        open_group = bool(text)
    return References(table.path, groups, starts, rows=sum(map(len, groups)))


def _last(table: Table) -> int:
    return max((number for number, row in enumerate(table.rows) if row.cells[0].strip()), default=0)


def _parallel(tables: Sequence[Table]) -> References:
    for table in tables:
        if len(table.rows) != len(tables[0].rows):
            got = f"{len(tables[0].rows)} in {tables[0].path}, {len(table.rows)} in {table.path}"
            raise DataError("as many lines in every file of references", got, "fill up with empty lines")
        if table.kind != "lines":
            raise DataError("files of lines where there are several", f"another format in {table.path}", "give one")
    texts = [_full(row.cells[0] for row in rows) for rows in zip(*(table.rows for table in tables), strict=True)]
    return References(tables[0].path, texts, range(1, len(texts) + 1), rows=len(texts))


def _checked(found: References) -> References:
    if not found.texts:
        raise DataError("at least one example with references", f"none in {found.path}", "give a test set")
    if (empty := next((number for number, own in enumerate(found.texts) if not own), None)) is not None:
        got = f"none in {found.path}, line {found.lines[empty]}"
        raise DataError("at least one reference for each example", got, "add it, or drop the example on both sides")
    return found


def _full(texts: Iterable[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


def _text(table: Table, row: Row, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise DataError("a text", f"{type(value).__name__} in {table.path}, line {row.line}", "correct the line")


def _texts(table: Table, row: Row, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_text(table, row, one) for one in values]


def _slice(table: Table, row: Row) -> str | None:
    return None if row.values.get("slice") is None else _text(table, row, row.values["slice"]) or None
