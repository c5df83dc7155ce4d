"""The digest that names a base: over config.json and all named tensors, as PrefixFleet computes it.

Reads the files of a model folder; does not load the model.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.manifest import parse_json

_INDEX_FILE, _WEIGHTS_FILE = "model.safetensors.index.json", "model.safetensors"
_IGNORED_CONFIG_KEYS = ("_name_or_path", "name_or_path", "transformers_version")
_CHUNK_BYTES = 1 << 24
_LENGTH_BYTES = 8
_FIX = "serve the folder of the base that the tenants were trained on, or set base_digest"


def compute_base_digest(folder: Path) -> str:
    """Return the hex sha256 of a model's folder.

    Raises:
        PluginError: config.json or the safetensors weights are missing or unreadable.
    """
    try:
        config = parse_json((folder / "config.json").read_bytes())
        kept = {key: value for key, value in config.items() if key not in _IGNORED_CONFIG_KEYS}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(text.encode())
        entries: dict[str, tuple[Path, dict[str, Any], int]] = {}
        for file in _find_weight_files(folder):
            entries |= _read_entries(file)
        for name in sorted(entries):
            file, entry, start = entries[name]
            digest.update(f"\0{name}\0{entry['dtype']}\0{entry['shape']}\0".encode())
            _update_from_file(digest, file, start + entry["data_offsets"][0], start + entry["data_offsets"][1])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        got = f"{type(problem).__name__}: {problem}"
        raise PluginError("setup", f"a model with safetensors weights in {folder}", got, _FIX) from None
    return digest.hexdigest()


def _find_weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS_FILE).is_file() or not (folder / _INDEX_FILE).is_file():
        return [folder / _WEIGHTS_FILE]
    names = set(parse_json((folder / _INDEX_FILE).read_bytes())["weight_map"].values())
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"weights beside their index, not {outside[0]!r}")
    return sorted(folder / name for name in names)


def _read_entries(file: Path) -> dict[str, tuple[Path, dict[str, Any], int]]:
    """Return name -> file, entry in its header, and offset of its first tensor."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if size > file.stat().st_size:
            raise ValueError(f"a header of {size} bytes in {file}")
        header = parse_json(stream.read(size))
    start = _LENGTH_BYTES + size
    return {name: (file, entry, start) for name, entry in header.items() if name != "__metadata__"}


def _update_from_file(digest: "hashlib._Hash", file: Path, start: int, end: int) -> None:
    with file.open("rb") as stream:
        stream.seek(start)
        while start < end:
            chunk = stream.read(min(_CHUNK_BYTES, end - start))
            if not chunk:
                raise ValueError(f"{file} is truncated")
            digest.update(chunk)
            start += len(chunk)
