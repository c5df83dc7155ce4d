"""Reads CSV, TSV, JSON lines and JSON files as tables of text: no type of a cell is guessed. Knows no data set."""

import codecs
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.data.file_hints import find_binary_problem, find_line_hint, find_whole_file_problem
from components.data.importers.cells import Fields, NumberText, Table, make_examples
from components.data.importers.chats import find_chat_column, make_conversations
from components.data.importers.delimited import read_delimited
from components.data.importers.sources import decode_utf8, find_split
from components.data.schema import SPLITS, Example, split_numbered_lines
from components.errors import DataError

FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}


def import_csv(
    path: str,
    *,
    source_field: str = "source",
    reference_field: str = "references",
    slice_field: str = "",
    split: str = "",
    delimiter: str = "",
) -> dict[str, list[Example]]:
    """Read a CSV file, or a folder of one file a split. The delimiter is found in the header unless it is set.

    Raises:
        DataError: as `import_tables`.

    """
    return import_tables("csv", path, Fields.parse(source_field, reference_field, slice_field), split, delimiter)


def import_tsv(
    path: str,
    *,
    source_field: str = "source",
    reference_field: str = "references",
    slice_field: str = "",
    split: str = "",
) -> dict[str, list[Example]]:
    """Read a file of cells separated by tabs, or a folder of one file a split. Raises DataError as `import_tables`."""
    return import_tables("tsv", path, Fields.parse(source_field, reference_field, slice_field), split)


def import_jsonl(
    path: str,
    *,
    source_field: str = "source",
    reference_field: str = "references",
    slice_field: str = "",
    messages_field: str = "",
    split: str = "",
) -> dict[str, list[Example]]:
    """Read JSON lines or a JSON array of objects, or a folder of one file a split.

    A reference is a string or a list of strings. Without a column of sources, the rows are conversations in the column
    `messages` or `conversations`.

    Raises:
        DataError: as `import_tables`.

    """
    fields = Fields.parse(source_field, reference_field, slice_field, messages_field)
    return import_tables("jsonl", path, fields, split)


def import_openai(
    path: str, *, messages_field: str = "messages", slice_field: str = "", split: str = ""
) -> dict[str, list[Example]]:
    """Read files of OpenAI's fine-tuning format. Raises DataError as `import_tables`."""
    return import_jsonl(path, messages_field=messages_field, slice_field=slice_field, split=split)


def import_sharegpt(
    path: str, *, messages_field: str = "conversations", slice_field: str = "", split: str = ""
) -> dict[str, list[Example]]:
    """Read files of ShareGPT's format. Raises DataError as `import_tables`."""
    return import_jsonl(path, messages_field=messages_field, slice_field=slice_field, split=split)


def import_tables(kind: str, path: str, fields: Fields, split: str, delimiter: str = "") -> dict[str, list[Example]]:
    """Read the files of one format at `path`; `split` is that of a single file whose name has none.

    Raises:
        DataError: there is no such file, it is not UTF-8 or has another format, a column is missing or double, a row
            has too many or too few cells, or a cell is no text.

    """
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) > 1 or delimiter in ('"', "\r", "\n", " "):
        got = f"delimiter={delimiter!r}"
        raise DataError(
            "a delimiter of one character that is not a quote, space or line break", got, "set delimiter=';'"
        )
    return {
        name: make_rows(_read_table(kind, file, fields, delimiter), fields)
        for name, file in find_split_files(path, split, kind).items()
    }


def make_rows(table: Table, fields: Fields) -> list[Example]:
    """Return the examples of a table: conversations if it has messages and no sources, else pairs.

    Raises:
        DataError: a column is missing, or a cell is no text.

    """
    column = find_chat_column(table.columns, fields)
    return make_examples(table, fields) if column is None else make_conversations(table, column, fields)


def find_split_files(path: str, split: str, kind: str | None = None) -> dict[str, Path]:
    """Return split -> file of a folder, or of one file; only files of the format `kind`, unless it is None.

    Raises:
        DataError: there is nothing at `path`, no file has a split, two files have the same or two formats.

    """
    folder = Path(path)
    if split and split not in SPLITS:
        raise DataError(f"a split out of {', '.join(SPLITS)}", repr(split), "name one of these")
    if not folder.exists():
        raise DataError("a file or a folder of split files", f"no file or folder {path}", "correct the path")
    suffixes = [suffix for suffix, known in FORMAT_BY_SUFFIX.items() if kind in (None, known)]
    whole = folder.is_dir()
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if whole else [folder]:
        if whole and file.suffix.lower() not in suffixes:
            continue
        known = (split if not whole else "") or find_split(file.name)
        if not known:
            continue
        if known in files:
            got = f"{files[known].name} and {file.name}"
            raise DataError(f"one file of the {known} split in {path}", got, "remove one of the two")
        files[known] = file
    if not files:
        wanted = f"train, validation and test files ({', '.join(suffixes)})"
        fix = "put the split into the file names, or pass --split for a single file"
        raise DataError(wanted, f"none in {path}", fix)
    if len({FORMAT_BY_SUFFIX.get(file.suffix.lower()) for file in files.values()}) > 1:
        got = ", ".join(file.name for file in files.values())
        raise DataError("split files of one format", got, "convert them to one format")
    return files


def _read_table(kind: str, file: Path, fields: Fields, delimiter: str) -> Table:
    try:
        content = file.read_bytes()
    except OSError as problem:
        got = f"{file}: {problem.strerror}"
        raise DataError("a readable file", got, "correct the path or its permissions") from None
    if binary := find_binary_problem(file.name, content, f"{kind.upper()} in UTF-8"):
        raise binary
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"examples in {file.name}", "an empty file", "export the data again")
    if kind == "jsonl":
        rows = list(_read_json_rows(file.name, content))
        return Table(file.name, list(dict.fromkeys(key for _, row in rows for key in row)), rows)
    text = decode_utf8(file.name, content)
    if text.lstrip().startswith(('{"', '[{"')):
        raise DataError(f"{kind.upper()} in {file.name}", "JSON", "import it with `prefixfleet data import jsonl`")
    return read_delimited(kind, file.name, text, fields.columns, delimiter)


def _read_json_rows(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = decode_utf8(name, content)
    if text.lstrip().startswith("["):
        values = _parse_json(name, text)
        for number, value in enumerate(values if isinstance(values, list) else [values], start=1):
            yield _require_object(f"{name}, element {number}", value)
        return
    for number, line in split_numbered_lines(content):
        where = f"{name}, line {number}"
        try:
            yield _require_object(where, _parse_json(where, line.decode("utf-8")))
        except DataError as problem:
            whole = find_whole_file_problem(name, content)
            hint = whole.fix if whole else find_line_hint(line)
            raise DataError(problem.wanted, problem.got, hint or problem.fix) from None


def _require_object(where: str, value: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(value, dict):
        raise DataError("a JSON object", f"{type(value).__name__} in {where}", "correct the file")
    return where, value


def _parse_json(where: str, text: str) -> Any:
    try:
        return json.loads(
            text,
            parse_int=NumberText,
            parse_float=NumberText,
            parse_constant=NumberText,
            object_pairs_hook=_refuse_double_keys,
        )
    except (ValueError, RecursionError) as problem:
        raise DataError("JSON lines or a JSON array", f"{where}: {problem}", "correct the file") from None


def _refuse_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("the same key twice in one object")
    return values
