"""Any data set of the Hugging Face hub, or local files of the formats that `tables` reads, and Parquet.

The only module that imports `datasets`, and only when an import needs it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.data.importers.cells import Fields, Table
from components.data.importers.chats import find_chat_column, list_chat_columns
from components.data.importers.sources import find_split
from components.data.importers.tables import FORMAT_BY_SUFFIX, find_split_files, import_tables, make_rows
from components.data.schema import Example
from components.errors import DataError

XSUM_ID = "EdinburghNLP/xsum"


def import_hub(
    path: str,
    *,
    source_field: str = "source",
    reference_field: str = "references",
    slice_field: str = "",
    messages_field: str = "",
    config: str = "",
    revision: str = "",
    split: str = "",
) -> dict[str, list[Example]]:
    """Read an id on the hub, a folder of split files, or one file.

    `reference_field` names one column of strings or lists of strings, or several columns joined by commas. `split` is
    the split of a single file whose name does not contain one. All references of a row become one example, in every
    split. Rows with messages in `messages_field` (or in `messages` or `conversations`) and no source are conversations.

    Raises:
        DataError: the id or file cannot be read, a column is missing, or a cell cannot be written as text.

    """
    fields = Fields.parse(source_field, reference_field, slice_field, messages_field)
    local = Path(path)
    if local.exists():
        files = find_split_files(path, split)
        kind = FORMAT_BY_SUFFIX.get(next(iter(files.values())).suffix.lower())
        if kind is None:
            known = ", ".join(FORMAT_BY_SUFFIX)
            raise DataError(f"a file named {known}", path, "rename it, or name its format: data import csv FILE")
        return _import_parquet(path, files, fields) if kind == "parquet" else import_tables(kind, path, fields, split)
    if local.suffix.lower() in FORMAT_BY_SUFFIX or path.startswith((".", "/", "~")):
        raise DataError("a file, a folder or an id on the hub", f"no file or folder {path}", "correct the path")
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as cache:
        return _make_all(_load_remote(path, config, revision, cache), path, fields)


def import_parquet(
    path: str,
    *,
    source_field: str = "source",
    reference_field: str = "references",
    slice_field: str = "",
    messages_field: str = "",
    split: str = "",
) -> dict[str, list[Example]]:
    """Read a Parquet file, or a folder of one file a split. Raises DataError as `import_hub`."""
    fields = Fields.parse(source_field, reference_field, slice_field, messages_field)
    return _import_parquet(path, find_split_files(path, split, "parquet"), fields)


def import_xsum(path: str = XSUM_ID, *, revision: str = "") -> dict[str, list[Example]]:
    """Read XSUM (document -> one-sentence summary) from the hub or from local files with its columns.

    The Prefix-Tuning authors cut documents at 512 tokens: set `train.max_source_tokens`.

    Raises:
        DataError: see `import_hub`.

    """
    return import_hub(path, source_field="document", reference_field="summary", revision=revision)


def _import_parquet(path: str, files: Mapping[str, Path], fields: Fields) -> dict[str, list[Example]]:
    names = {name: str(file) for name, file in files.items()}
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as cache:
        return _make_all(
            _load(path, "correct the file", path="parquet", data_files=names, cache_dir=cache), path, fields
        )


def _load_remote(path: str, config: str, revision: str, cache: str) -> dict[str, Any]:
    fix = "check the id, the network and HF_HUB_OFFLINE"
    source: dict[str, Any] = {"path": path, "name": config or None, "revision": revision or None, "cache_dir": cache}
    builder = _load(path, fix, function="load_dataset_builder", **source)
    # pandas reads NA, None, null and the like in a CSV file as empty cells unless it is told not to.
    options: dict[str, Any] = {"keep_default_na": False} if hasattr(builder.config, "keep_default_na") else {}
    remote = _load(path, fix, **source, **options)
    splits = {known: rows for name, rows in remote.items() if (known := find_split(name))}
    if not splits:
        got = f"{', '.join(remote)} in {path}"
        raise DataError("splits named train, validation or test", got, "download the files and rename them")
    return splits


def _load(shown: str, fix: str, *, function: str = "load_dataset", **options: Any) -> Any:
    import datasets

    with _convert_errors(shown, fix):
        return getattr(datasets, function)(**options)


@contextmanager
def _convert_errors(shown: str, fix: str) -> Iterator[None]:
    """Convert what `datasets` raises: of a damaged file or an unknown id errors of many types."""
    try:
        yield
    except Exception as problem:  # noqa: BLE001 - see above
        cause = " ".join(str(problem.__cause__ or problem).split()) or type(problem).__name__
        raise DataError(f"a data set at {shown}", cause, fix) from None


def _make_all(splits: Mapping[str, Any], path: str, fields: Fields) -> dict[str, list[Example]]:
    return {
        name: make_rows(Table(f"{path}, {name}", rows.column_names, _iterate_rows(rows, path, name, fields)), fields)
        for name, rows in splits.items()
    }


def _iterate_rows(rows: Any, path: str, name: str, fields: Fields) -> Iterator[tuple[str, Mapping[str, Any]]]:
    chats = find_chat_column(rows.column_names, fields)
    columns = fields.columns if chats is None else list_chat_columns(rows.column_names, chats, fields)
    with _convert_errors(path, "correct the file"):
        for number, row in enumerate(rows.select_columns(list(dict.fromkeys(columns))), start=1):
            yield f"{path}, {name}, row {number}", row
