"""Where an importer's files come from: a folder, one file, a zip or a tar archive; and which split a name means.

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
    """Read the files with these suffixes below `path` (folder, archive or one file), by name, sorted.

    Raises:
        DataError: nothing is there, the archive is broken, or it has no such file.

    """
    place = Path(path)
    wanted = f"a folder, an archive or a file with {' or '.join(suffixes)}"
    try:
        files = _read_matching(place, lambda name: PurePosixPath(name).suffix.lower() in suffixes)
    except FileNotFoundError:
        raise DataError(wanted, f"nothing at {place}", "correct the path") from None
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as problem:
        raise DataError(wanted, f"{place}: {problem}", "fetch the file again") from None
    if not files:
        raise DataError(wanted, f"{place} without one", "see the data set's own page for its files")
    return dict(sorted(files.items()))


def find_split(name: str) -> str | None:
    """The split that a file or folder name speaks of (`devset.csv`, `dart-full-train.json`); None where none or two."""
    splits = {_SPLIT_BY_WORD[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in _SPLIT_BY_WORD}
    return splits.pop() if len(splits) == 1 else None


def read_csv(name: str, content: bytes) -> list[dict[str, str]]:
    """Rows of a CSV file with a header line; column names are lower-cased.

    Raises:
        DataError: not UTF-8, broken quoting, or a row with more or fewer cells than the header.

    """
    rows = []
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [column.strip().lower() for column in next(reader, [])]
        for cells in reader:
            if cells:
                rows.append(dict(zip(header, cells, strict=True)))
    except (ValueError, csv.Error) as problem:
        raise DataError("a CSV file in UTF-8 with a header", f"{name}: {problem}", "fetch the file again") from None
    return rows


def read_json(name: str, content: bytes) -> Any:
    """Values of a JSON file.

    Raises:
        DataError: not UTF-8, or broken JSON.

    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:
        raise DataError("a JSON file in UTF-8", f"{name}: {problem}", "fetch the file again") from None


def to_one_line(text: str) -> str:
    """The text on one line: every run of white space becomes one space, none stays at the ends."""
    return " ".join(text.split())


def _read_matching(place: Path, fits: Callable[[str], bool]) -> dict[str, bytes]:
    if place.is_dir():
        paths = [path for path in place.rglob("*") if fits(path.name) and path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            return {name: archive.read(name) for name in archive.namelist() if fits(name)}
    if place.suffix.lower() in (".tar", ".tgz", ".xz", ".gz", ".bz2"):
        with tarfile.open(place) as archive:
            members = [member for member in archive.getmembers() if member.isfile() and fits(member.name)]
            return {member.name: file.read() for member in members if (file := archive.extractfile(member))}
    content = place.read_bytes()
    return {place.name: content} if fits(place.name) else {}
