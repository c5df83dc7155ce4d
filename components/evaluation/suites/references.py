"""Read the references of a test set, grouped by input, from tables, JSON lines, lines of text, or a published release.

The project's importers read a release (E2E's zip, WebNLG's or DART's archive or folder), with WebNLG's slices. Knows no
predictions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.importers.dart import import_dart
from components.data.importers.sources import find_split, read_files
from components.data.importers.webnlg import import_webnlg
from components.data.schema import Example
from components.errors import DataError
from components.evaluation.suites.input_tables import (
    REFERENCE_COLUMN,
    Table,
    TableRow,
    find_column,
    find_input_column,
    parse_table,
    read_table,
)

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".xz", ".gz", ".bz2")
_WEBNLG_TEST_FILE = "testdata_with_lex.xml"


@dataclass(frozen=True, slots=True)
class References:
    """The references of each example and the line where they start.

    `inputs` and `slices` are None if the file has none. `row_count` is the number of rows before they were grouped.
    """

    path: Path
    texts: Sequence[Sequence[str]]
    lines: Sequence[int]
    inputs: Sequence[str] | None = None
    slices: Sequence[str | None] | None = None
    row_count: int = 0


def read_references(paths: Sequence[Path], suite: str, column: str | None = None, split: str = "test") -> References:
    """Read the references of a suite.

    Several paths are parallel files of lines, one reference of an example each; an empty line is no reference. In one
    file of lines, each line is an example, or each group of lines if blank lines separate groups. Rows of a table with
    the same input are one example, at the position of the first. A table without a header has only references, or in
    E2E inputs and references.

    Raises:
        DataError: a file cannot be read, has no such column or split, or an example has no reference.

    """
    if len(paths) > 1:
        return _check_references(_join_parallel_tables([read_table(path) for path in paths]))
    path = paths[0]
    if (release := _read_release(path, suite, split)) is not None:
        return _check_references(release)
    table = read_table(path)
    if table.kind == "lines":
        return _check_references(_group_lines(table))
    return _check_references(_to_references(table, suite, column))


def _read_release(path: Path, suite: str, split: str) -> References | None:
    suffix = path.suffix.lower()
    if suite == "webnlg" and (path.is_dir() or suffix in (*_ARCHIVE_SUFFIXES, ".xml")):
        return _select_split(path, import_webnlg(str(_find_webnlg_folder(path))), split)
    if suite == "dart" and (path.is_dir() or suffix in (*_ARCHIVE_SUFFIXES, ".json")):
        return _select_split(path, import_dart(str(path)), split)
    if path.is_dir() or suffix in _ARCHIVE_SUFFIXES:
        return _read_table_inside(path, suite, split)
    return None


def _find_webnlg_folder(path: Path) -> Path:
    if path.suffix.lower() != ".xml":
        return path
    release = path.resolve().parent.parent
    if path.name != _WEBNLG_TEST_FILE or not (release / "train").is_dir():
        fix = "pass the archive or the release's folder; its training part is needed to tell the seen categories"
        raise DataError(f"the file test/{_WEBNLG_TEST_FILE} inside WebNLG's release", str(path), fix)
    return release


def _select_split(path: Path, splits: dict[str, list[Example]], split: str) -> References:
    if not (examples := splits.get(split)):
        raise DataError(f"the split {split!r} in {path}", f"{', '.join(splits) or 'none'}", "name another split")
    slices = [example.slice for example in examples]
    texts = [example.references for example in examples]
    own = slices if any(slices) else None
    return References(path, texts, range(1, len(examples) + 1), [example.source for example in examples], own)


def _read_table_inside(path: Path, suite: str, split: str) -> References:
    for name, content in read_files(str(path), ".csv", ".tsv", ".jsonl").items():
        if find_split(name.rsplit("/", 1)[-1]) == split:
            table = parse_table(path / name, content)
            if _find_reference_columns(table):
                return _to_references(table, suite, None)
    raise DataError(f"a {split} file with references in {path}", "none", "name the file itself, or another split")


def _to_references(table: Table, suite: str, column: str | None) -> References:
    named = find_input_column(table)
    if table.kind == "headless":
        if column is not None:
            find_column(table, column, (), "references")
        has_inputs = suite == "e2e" and len(table.rows[0].cells) == 2
        inputs = [row.cells[0] for row in table.rows] if has_inputs else None
        texts = [list(row.cells[1 if has_inputs else 0 :]) for row in table.rows]
    else:
        columns = [find_column(table, column, (), "references")] if column else _find_reference_columns(table)
        if not columns:
            find_column(table, None, (REFERENCE_COLUMN,), "references")
        inputs = [_check_text(table, row, row.values.get(named)) for row in table.rows] if named is not None else None
        texts = [
            [text for each in columns for text in _check_texts(table, row, row.values.get(each))] for row in table.rows
        ]
    slices = [_read_slice(table, row) for row in table.rows] if "slice" in table.columns else None
    return _group_by_input(table, texts, inputs, slices, merge_same_inputs="references" not in table.columns)


def _find_reference_columns(table: Table) -> list[str]:
    if "references" in table.columns:
        return ["references"]
    return [column for column in table.columns if REFERENCE_COLUMN.fullmatch(column)]


def _group_by_input(
    table: Table,
    texts: Sequence[Sequence[str]],
    inputs: Sequence[str] | None,
    slices: Sequence[str | None] | None,
    *,
    merge_same_inputs: bool,
) -> References:
    lines = [row.line_number for row in table.rows]
    if inputs is None or not merge_same_inputs:
        cleaned = [_drop_empty(own) for own in texts]
        return References(table.path, cleaned, lines, inputs, slices, len(lines))
    groups: dict[str, list[str]] = {}
    starts: dict[str, int] = {}
    for number, key in enumerate(inputs):
        groups.setdefault(key, []).extend(_drop_empty(texts[number]))
        starts.setdefault(key, number)
    own = None if slices is None else [slices[number] for number in starts.values()]
    started = [lines[number] for number in starts.values()]
    return References(table.path, list(groups.values()), started, list(groups), own, len(lines))


def _group_lines(table: Table) -> References:
    groups: list[list[str]] = []
    starts: list[int] = []
    in_group = False
    has_groups = any(not row.cells[0].strip() for row in table.rows[: _find_last_text_row(table)])
    for row in table.rows:
        text = row.cells[0].strip()
        if text and not (has_groups and in_group):
            groups.append([])
            starts.append(row.line_number)
        if text:
            groups[-1].append(text)
        in_group = bool(text)
    return References(table.path, groups, starts, row_count=sum(map(len, groups)))


def _find_last_text_row(table: Table) -> int:
    return max((number for number, row in enumerate(table.rows) if row.cells[0].strip()), default=0)


def _join_parallel_tables(tables: Sequence[Table]) -> References:
    for table in tables:
        if len(table.rows) != len(tables[0].rows):
            got = f"{len(tables[0].rows)} in {tables[0].path}, {len(table.rows)} in {table.path}"
            raise DataError("the same number of lines in every file of references", got, "add empty lines")
        if table.kind != "lines":
            got = f"{table.path} in another format"
            raise DataError("plain lines of text in each of several files", got, "pass one file only")
    texts = [_drop_empty(row.cells[0] for row in rows) for rows in zip(*(table.rows for table in tables), strict=True)]
    return References(tables[0].path, texts, range(1, len(texts) + 1), row_count=len(texts))


def _check_references(read: References) -> References:
    if not read.texts:
        raise DataError("at least one example with references", f"none in {read.path}", "pass a test set")
    if (empty := next((number for number, own in enumerate(read.texts) if not own), None)) is not None:
        got = f"none in {read.path}, line {read.lines[empty]}"
        fix = "add it, or remove the example from references and predictions"
        raise DataError("at least one reference for each example", got, fix)
    return read


def _drop_empty(texts: Iterable[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


def _check_text(table: Table, row: TableRow, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise DataError("a text", f"{type(value).__name__} in {table.path}, line {row.line_number}", "correct the line")


def _check_texts(table: Table, row: TableRow, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_check_text(table, row, one) for one in values]


def _read_slice(table: Table, row: TableRow) -> str | None:
    return None if row.values.get("slice") is None else _check_text(table, row, row.values["slice"]) or None
