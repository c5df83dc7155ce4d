"""Any data set that `datasets` reads: an id on the Hugging Face hub, or local JSON lines, CSV or Parquet files.

The only module that imports `datasets`, and only when an import runs.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.data.importers.sources import find_split
from components.data.schema import SPLITS, Example
from components.errors import DataError

_BUILDER_BY_SUFFIX = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
XSUM_ID = "EdinburghNLP/xsum"


def import_hub(
    path: str,
    *,
    source_field: str = "source",
    reference_field: str = "references",
    slice_field: str = "",
    config: str = "",
    revision: str = "",
    split: str = "",
) -> dict[str, list[Example]]:
    """Read an id on the hub, a folder of split files, or one file.

    `reference_field` names one column of strings or lists of strings, or several columns joined by commas. `split` is
    the split of a single file whose name does not contain one. All references of a row become one example, in every
    split.

    Raises:
        DataError: the id or file cannot be read, a column is missing, or a cell is not a string.

    """
    references = reference_field.split(",")
    columns = [source_field, *references, *([slice_field] if slice_field else [])]
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as cache:
        return {
            name: list(_make_examples(rows, columns, len(references), f"{path}, {name}"))
            for name, rows in _load_splits(path, config, revision, split, cache).items()
        }


def import_xsum(path: str = XSUM_ID, *, revision: str = "") -> dict[str, list[Example]]:
    """Read XSUM (document -> one-sentence summary) from the hub or from local files with its columns.

    The Prefix-Tuning authors cut documents at 512 tokens: set `train.max_source_tokens`.

    Raises:
        DataError: see `import_hub`.

    """
    return import_hub(path, source_field="document", reference_field="summary", revision=revision)


def _load_splits(path: str, config: str, revision: str, split: str, cache: str) -> dict[str, Any]:
    import datasets

    local = Path(path)
    try:
        if local.exists():
            files = _find_local_files(local, split)
            builder = _BUILDER_BY_SUFFIX[next(iter(files.values())).suffix.lower()]
            names = {name: str(file) for name, file in files.items()}
            return dict(datasets.load_dataset(builder, data_files=names, cache_dir=cache))
        if local.suffix.lower() in _BUILDER_BY_SUFFIX or path.startswith((".", "/", "~")):
            raise DataError("a file, a folder or an id on the hub", f"no file or folder {path}", "correct the path")
        remote = datasets.load_dataset(path, config or None, revision=revision or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as problem:
        cause = " ".join(str(problem.__cause__ or problem).split())
        fix = "correct the file" if local.exists() else "check the id, the network and HF_HUB_OFFLINE"
        raise DataError(f"a data set at {path}", cause, fix) from None
    splits = {known: rows for name, rows in remote.items() if (known := find_split(name))}
    if not splits:
        got = f"{', '.join(remote)} in {path}"
        raise DataError("splits named train, validation or test", got, "download the files and rename them")
    return splits


def _find_local_files(path: Path, split: str) -> dict[str, Path]:
    if split and split not in SPLITS:
        raise DataError(f"a split out of {', '.join(SPLITS)}", repr(split), "name one of these")
    single = "" if path.is_dir() else split
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        known = find_split(file.name) or single
        if file.suffix.lower() in _BUILDER_BY_SUFFIX and known:
            if known in files:
                got = f"{files[known].name} and {file.name}"
                raise DataError(f"one file of the {known} split in {path}", got, "remove one of the two")
            files[known] = file
    if not files:
        wanted = f"train, validation and test files ({', '.join(_BUILDER_BY_SUFFIX)})"
        fix = "put the split into the file names, or set split= for a single file"
        raise DataError(wanted, f"none in {path}", fix)
    if len({_BUILDER_BY_SUFFIX[file.suffix.lower()] for file in files.values()}) > 1:
        got = ", ".join(file.name for file in files.values())
        raise DataError("split files of one format", got, "convert them to one format")
    return files


def _make_examples(rows: Any, columns: list[str], references: int, origin: str) -> Iterator[Example]:
    if missing := [column for column in columns if column not in rows.column_names]:
        got = f"{origin} with columns {', '.join(rows.column_names)}"
        raise DataError(f"a column {missing[0]!r}", got, "set source_field= and reference_field=")
    for number, row in enumerate(rows.select_columns(columns), start=1):
        source, *texts = (row[column] for column in columns)
        where = f"{origin}, row {number}"
        flat = [text for cell in texts[:references] for text in (cell if isinstance(cell, list) else [cell])]
        part = _to_text(texts[-1], where) if len(texts) > references else None
        yield Example(_to_text(source, where), tuple(_to_text(text, where).strip() for text in flat), part or None)


def _to_text(cell: Any, where: str) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise DataError(
            "cells with text", f"{type(cell).__name__} in {where}", "name another column, or convert this one"
        )
    return cell
