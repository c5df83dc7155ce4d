"""Small files by which a stage knows what it has done: JSON, written whole or not at all, and stamps.

A stamp lies beside a tenant's results. It holds what they were made from and the digests of the files, so that
`is_up_to_date` can say, without any clock, that they need not be made again. Knows nothing of what the inputs mean.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.data.digests import compute_file_digest
from components.storage.atomic_files import write_atomic

STAMP_FILE = "stamp.json"


def write_json(path: Path, values: Any) -> None:
    """Write `values`, readable and in a fixed order; leaves an equal file as it is. Raises WorkspaceError."""
    content = (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)


def read_json(path: Path) -> Any:
    """The values of a file that a stage wrote, or None where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table whole. Raises WorkspaceError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table that a stage wrote; none where it is missing."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_stamp(folder: Path, inputs: Mapping[str, Any], files: Iterable[str]) -> None:
    """Say that `files` of `folder` were made from `inputs` (JSON values). Write it last."""
    digests = {name: compute_file_digest(folder / name) for name in files}
    write_json(folder / STAMP_FILE, {"inputs": dict(inputs), "files": digests})


def is_up_to_date(
    folder: Path, inputs: Mapping[str, Any], hash_file: Callable[[Path], str | None] = compute_file_digest
) -> bool:
    """Whether the folder holds, unchanged, what was made from the same inputs; `hash_file` gives a file's digest."""
    stamp = read_json(folder / STAMP_FILE)
    if not isinstance(stamp, dict) or stamp.get("inputs") != json.loads(json.dumps(dict(inputs))):
        return False
    return all(hash_file(folder / name) == digest for name, digest in stamp["files"].items())


def remove_departed(folder: Path, tenants: Iterable[str]) -> list[str]:
    """Remove the folders of tenants that have left; returns their names."""
    staying = set(tenants)
    gone = sorted(path.name for path in folder.glob("*/") if path.name not in staying)
    for name in gone:
        shutil.rmtree(folder / name)
    return gone
