"""Reads an importer's files from a folder, one file, a zip or a tar archive, and finds the split in a file name.

Archives are read in memory and never unpacked. Knows no data set.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from components.data.file_hints import detect_wide_encoding
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

_MAX_ARCHIVE_BYTES = 1 << 30
_ARCHIVE_ERRORS = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, OverflowError, RuntimeError, MemoryError, struct.error),
    *(tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError),
)
"""What reading damaged or encrypted archives raises."""


def read_files(path: str, *suffixes: str) -> dict[str, bytes]:
    """Return name -> content, sorted by name, of the files with these suffixes in `path` (folder, archive or one file).

    Raises:
        DataError: `path` does not exist, the archive is broken, encrypted or larger than 1 GiB when unpacked, or there
            is no such file.

    """
    source = Path(path)
    wanted = f"a folder, an archive or a file with {' or '.join(suffixes)}"
    try:
        files = _read_matching(source, lambda name: PurePosixPath(name).suffix.lower() in suffixes)
    except FileNotFoundError:
        raise DataError(wanted, f"no file or folder {source}", "correct the path") from None
    except _ARCHIVE_ERRORS as problem:
        raise DataError(wanted, f"{source}: {problem}", "download the file again") from None
    if not files:
        raise DataError(wanted, f"none in {source}", "download the original files of this data set")
    return dict(sorted(files.items()))


def find_split(name: str) -> str | None:
    """Return the split in a file name such as `devset.csv` or `dart-full-train.json`; None if there is none or two."""
    splits = {_SPLIT_BY_WORD[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in _SPLIT_BY_WORD}
    return splits.pop() if len(splits) == 1 else None


def decode_utf8(name: str, content: bytes) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Raises:
        DataError: the file has another encoding; the fix converts it.

    """
    encoding = detect_wide_encoding(content)
    try:
        if encoding is None:
            return content.decode("utf-8-sig")
        got = f"{name} in {encoding}"
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        got = f"{name}: byte 0x{content[problem.start]:02x} in line {line}"
    fix = f"convert it: iconv -f {encoding or 'WINDOWS-1252'} -t UTF-8 FILE > NEW"
    fix += "" if encoding else " (or from the encoding that it has)"
    raise DataError("a file in UTF-8", got, fix)


def read_csv(name: str, content: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header line; column names are in lower case.

    Raises:
        DataError: the file is not UTF-8, its quoting is broken, or a row has more or fewer cells than the header.

    """
    rows = []
    text = decode_utf8(name, content)
    csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [column.strip().lower() for column in next(reader, [])]
        for cells in reader:
            if cells:
                rows.append(dict(zip(header, cells, strict=True)))
    except (ValueError, csv.Error) as problem:
        raise DataError("a CSV file with a header", f"{name}: {problem}", "download the file again") from None
    return rows


def read_json(name: str, content: bytes) -> Any:
    """Return the value of a JSON file.

    Raises:
        DataError: the file is not UTF-8, or its JSON is broken.

    """
    try:
        return json.loads(decode_utf8(name, content))
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
            infos = [info for info in archive.infolist() if matches(info.filename)]
            _require_bounded(source, sum(info.file_size for info in infos))
            return {info.filename: archive.read(info) for info in infos}
    if source.suffix.lower() in (".tar", ".tgz", ".xz", ".gz", ".bz2"):
        with tarfile.open(fileobj=io.BytesIO(_uncompress(source))) as archive:
            members = [member for member in archive.getmembers() if member.isfile() and matches(member.name)]
            return {member.name: file.read() for member in members if (file := archive.extractfile(member))}
    content = source.read_bytes()
    return {source.name: content} if matches(source.name) else {}


def _uncompress(source: Path) -> bytes:
    """Return a compressed file's content, read no further than the limit."""
    opener = {b"\x1f\x8b": gzip.open, b"\xfd7": lzma.open, b"BZ": bz2.open}
    with source.open("rb") as raw:
        open_stream = opener.get(raw.read(2))
        raw.seek(0)
        if open_stream is None:
            return raw.read()
        with open_stream(raw) as stream:  # type: ignore[operator]
            content: bytes = stream.read(_MAX_ARCHIVE_BYTES + 1)
    _require_bounded(source, len(content))
    return content


def _require_bounded(source: Path, size: int) -> None:
    if size > _MAX_ARCHIVE_BYTES:
        wanted = f"an archive of at most {_MAX_ARCHIVE_BYTES >> 20:,} MiB when unpacked"
        got = f"{source}: {size >> 20:,} MiB or more"
        raise DataError(wanted, got, "unpack it yourself and name the folder")
