"""Read the header of a safetensors file without its tensors, and check that the file is as long as the header says.

    8 bytes          length of the header, little-endian
    the header       JSON of tensor name -> {dtype, shape, data_offsets}, and `__metadata__`
    the tensors

Knows the format; does not know tensors' meaning.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.storage.json_text import parse_json

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """The entries of a file's tensors."""

    entries: dict[str, dict[str, Any]]
    """Tensor name -> dtype, shape, data_offsets (bytes from `start`)."""
    start: int
    """Offset of the first tensor in the file, in bytes."""


def read_tensor_header(path: Path) -> TensorHeader:
    """Read and check the header.

    Raises:
        ValueError: the header is too long or not one, or the file is longer or shorter than it says.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > min(size - _LENGTH_BYTES, MAX_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        fields = parse_json(stream.read(length))
    if not isinstance(fields, dict):
        raise ValueError("a header that is not an object")
    entries = {name: entry for name, entry in fields.items() if name != "__metadata__"}
    try:
        declared = _LENGTH_BYTES + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        complete = all({"dtype", "shape"} <= entry.keys() for entry in entries.values())
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("a header with incomplete entries") from None
    if declared != size or not complete:
        raise ValueError(f"{size} bytes, while its header declares {declared}: it is truncated or has been changed")
    return TensorHeader(entries, _LENGTH_BYTES + length)
