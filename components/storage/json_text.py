"""Parse JSON from files that others may have written: whatever is wrong with it is a ValueError. Knows no format."""

import json
import os
from pathlib import Path
from typing import Any

MAX_DEPTH = 64
"""Objects and lists within one another; deeper values overflow Python's stack when they are compared or printed."""


def parse_json(content: bytes | str) -> Any:
    """Return the values of UTF-8 JSON.

    Raises:
        ValueError: it is not JSON or not UTF-8, is nested more than MAX_DEPTH deep, or has an integer of thousands of
            digits, which Python refuses to parse.
    """
    try:
        values = json.loads(content.decode("utf-8") if isinstance(content, bytes) else content)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    level = [values]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _list_inner(value)]
        if not level:
            return values
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's bytes.

    Raises:
        ValueError: it has more than `limit` bytes; it is not read.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise ValueError(f"{size} bytes, more than {limit}")
        return stream.read(size)


def _list_inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, dict | list)]
    return [inner for inner in value if isinstance(inner, dict | list)] if isinstance(value, list) else []
