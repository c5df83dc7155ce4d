"""Any data set that `datasets` reads: an id of the Hugging Face hub, or local JSON lines, CSV or Parquet files.

The only module that imports `datasets`, and only when it is called.
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
    """Read a hub id, a folder of split files, or one file.

    `reference_field` names one column, of texts or of lists of texts, or several joined by commas. `split` says which
    split one file is where its name does not. Several references stay together on every split.

    Raises:
        DataError: the id or file cannot be read, a column is missing, or a cell holds no text.

    """
    references = reference_field.split(",")
    columns = [source_field, *references, *([slice_field] if slice_field else [])]
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as cache:
        return {
            name: list(_make_examples(rows, columns, len(references), f"{path}, {name}"))
            for name, rows in _load_splits(path, config, revision, split, cache).items()
        }


def import_xsum(path: str = XSUM_ID, *, revision: str = "") -> dict[str, list[Example]]:
    """Read XSUM, from the hub or from local files with its columns: document to one-sentence summary.

    The Prefix-Tuning authors cut documents at 512 tokens: set `train.max_source_tokens`.

    Raises:
        DataError: as `import_hub`.

    """
    return import_hub(path, source_field="document", reference_field="summary", revision=revision)


def _load_splits(path: str, config: str, revision: str, split: str, cache: str) -> dict[str, Any]:
    import datasets

    place = Path(path)
    try:
        if place.exists():
            files = _find_local_files(place, split)
            builder = _BUILDER_BY_SUFFIX[next(iter(files.values())).suffix.lower()]
            names = {name: str(file) for name, file in files.items()}
            return dict(datasets.load_dataset(builder, data_files=names, cache_dir=cache))
        if place.suffix.lower() in _BUILDER_BY_SUFFIX or path.startswith((".", "/", "~")):
            raise DataError("a file, a folder or an id of the hub", f"nothing at {path}", "correct the path")
        found = datasets.load_dataset(path, config or None, revision=revision or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as problem:
        cause = " ".join(str(problem.__cause__ or problem).split())
        fix = "check the id, the network and HF_HUB_OFFLINE" if not place.exists() else "correct the file"
        raise DataError(f"a data set at {path}", cause, fix) from None
    splits = {known: rows for name, rows in found.items() if (known := find_split(name))}
    if not splits:
        raise DataError("splits named train, validation, test", f"{', '.join(found)} in {path}", "use local files")
    return splits


def _find_local_files(place: Path, split: str) -> dict[str, Path]:
    if split and split not in SPLITS:
        raise DataError(f"a split of {', '.join(SPLITS)}", repr(split), "choose one of them")
    single = "" if place.is_dir() else split
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else [place]:
        known = find_split(path.name) or single
        if path.suffix.lower() in _BUILDER_BY_SUFFIX and known:
            if known in files:
                got = f"{files[known].name} and {path.name}"
                raise DataError(f"one file of the {known} split in {place}", got, "leave one of them")
            files[known] = path
    if not files:
        wanted = f"train, validation and test files in {', '.join(_BUILDER_BY_SUFFIX)}"
        raise DataError(wanted, f"{place} without one", "name them so, or give split= for a single file")
    if len({_BUILDER_BY_SUFFIX[path.suffix.lower()] for path in files.values()}) > 1:
        raise DataError("split files of one format", ", ".join(path.name for path in files.values()), "convert them")
    return files


def _make_examples(rows: Any, columns: list[str], references: int, place: str) -> Iterator[Example]:
    if missing := [column for column in columns if column not in rows.column_names]:
        got = f"{place} with columns {', '.join(rows.column_names)}"
        raise DataError(f"a column {missing[0]!r}", got, "give source_field= and reference_field=")
    for number, row in enumerate(rows.select_columns(columns), start=1):
        source, *texts = (row[column] for column in columns)
        where = f"{place}, row {number}"
        flat = [text for cell in texts[:references] for text in (cell if isinstance(cell, list) else [cell])]
        part = _to_text(texts[-1], where) if len(texts) > references else None
        yield Example(_to_text(source, where), tuple(_to_text(text, where).strip() for text in flat), part or None)


def _to_text(cell: Any, where: str) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise DataError("cells of text", f"{type(cell).__name__} in {where}", "name another column, or convert it")
    return cell
