"""Small files in which a stage records its results: JSON and CSV, written atomically, and stamps.

A stamp lies beside a tenant's results. It holds the inputs of the results and the digests of the result files, so that
`is_up_to_date` decides without clocks whether the results must be made again. Does not know what the inputs mean.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.data.digests import compute_file_digest
from components.storage.atomic_files import convert_disk_errors, remove_tree, write_atomic
from components.storage.json_text import parse_json

STAMP_FILE = "stamp.json"
TRAINING_FILE = "training.json"
"""The figures of a training, in out/train/<tenant>."""
ENDED_FIELD = "ended_s"
"""When it ended, in seconds since 1970: names the training among the tenant's."""


def write_json(path: Path, values: Any) -> None:
    """Write `values` as indented JSON with sorted keys. A file with equal content is not touched.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    content = (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)


def read_json(path: Path) -> Any:
    """Return the values in a JSON file; None if it is missing or broken."""
    try:
        return parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table. Raises WorkspaceError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table; no rows if the file is missing."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_stamp(folder: Path, inputs: Mapping[str, Any], files: Iterable[str]) -> None:
    """Record that `files` in `folder` were made from `inputs` (JSON values). Call this after writing the files."""
    digests = {name: compute_file_digest(folder / name) for name in files}
    write_json(folder / STAMP_FILE, {"inputs": dict(inputs), "files": digests})


def is_up_to_date(
    folder: Path, inputs: Mapping[str, Any], hash_file: Callable[[Path], str | None] = compute_file_digest
) -> bool:
    """Return whether the stamp has the same inputs and the files are unchanged; `hash_file` digests a file."""
    stamp = read_json(folder / STAMP_FILE)
    if not isinstance(stamp, dict) or stamp.get("inputs") != json.loads(json.dumps(dict(inputs))):
        return False
    files = stamp.get("files")
    return isinstance(files, dict) and all(hash_file(folder / name) == digest for name, digest in files.items())


def find_departed(folder: Path, tenants: Iterable[str]) -> list[str]:
    """Return the names of the subfolders of tenants that are not in `tenants`; `_...` is no tenant's."""
    present = set(tenants)
    return sorted(path.name for path in folder.glob("*/") if path.name not in present and path.name[0] != "_")


def remove_departed(folder: Path, tenants: Iterable[str]) -> list[str]:
    """Remove the subfolders of all tenants that are not in `tenants`; return their names."""
    departed = find_departed(folder, tenants)
    with convert_disk_errors(f"remove the results of tenants without data from {folder}"):
        for name in departed:
            remove_tree(folder / name)
    return departed
