"""Reads an importer's files from a folder, one file, a zip or a tar archive, and finds the split in a file name.

Archives are read in memory and never unpacked. Knows no data set.
"""

import csv
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from components.errors import DataError

_SPLIT_BY_WORD = {
    "train": "train",
    "training": "train",
    "trainset": "train",
    "dev": "validation",
    "devset": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testset": "test",
}


def read_files(path: str, *suffixes: str) -> dict[str, bytes]:
    """Return name -> content, sorted by name, of the files with these suffixes in `path` (folder, archive or one file).

    Raises:
        DataError: `path` does not exist, the archive is broken, or there is no such file.

    """
    source = Path(path)
    wanted = f"a folder, an archive or a file with {' or '.join(suffixes)}"
    try:
        files = _read_matching(source, lambda name: PurePosixPath(name).suffix.lower() in suffixes)
    except FileNotFoundError:
        raise DataError(wanted, f"no file or folder {source}", "correct the path") from None
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as problem:
        raise DataError(wanted, f"{source}: {problem}", "download the file again") from None
    if not files:
        raise DataError(wanted, f"none in {source}", "download the original files of this data set")
    return dict(sorted(files.items()))


def find_split(name: str) -> str | None:
    """Return the split in a file name such as `devset.csv` or `dart-full-train.json`; None if there is none or two."""
    splits = {_SPLIT_BY_WORD[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in _SPLIT_BY_WORD}
    return splits.pop() if len(splits) == 1 else None


def read_csv(name: str, content: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header line; column names are in lower case.

    Raises:
        DataError: the file is not UTF-8, its quoting is broken, or a row has more or fewer cells than the header.

    """
    rows = []
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [column.strip().lower() for column in next(reader, [])]
        for cells in reader:
            if cells:
                rows.append(dict(zip(header, cells, strict=True)))
    except (ValueError, csv.Error) as problem:
        raise DataError("a CSV file in UTF-8 with a header", f"{name}: {problem}", "download the file again") from None
    return rows


def read_json(name: str, content: bytes) -> Any:
    """Return the value of a JSON file.

    Raises:
        DataError: the file is not UTF-8, or its JSON is broken.

    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:
        raise DataError("a JSON file in UTF-8", f"{name}: {problem}", "download the file again") from None


def to_one_line(text: str) -> str:
    """Return the text with every run of white space as one space, and none at the ends."""
    return " ".join(text.split())


def _read_matching(source: Path, matches: Callable[[str], bool]) -> dict[str, bytes]:
    if source.is_dir():
        paths = [path for path in source.rglob("*") if matches(path.name) and path.is_file()]
        return {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            return {name: archive.read(name) for name in archive.namelist() if matches(name)}
    if source.suffix.lower() in (".tar", ".tgz", ".xz", ".gz", ".bz2"):
        with tarfile.open(source) as archive:
            members = [member for member in archive.getmembers() if member.isfile() and matches(member.name)]
            return {member.name: file.read() for member in members if (file := archive.extractfile(member))}
    content = source.read_bytes()
    return {source.name: content} if matches(source.name) else {}
