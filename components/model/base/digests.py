"""Content digests of a base, which do not depend on the folder or on how the weights are split into files.

Reads the files of a model folder; does not load the model.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.errors import BaseModelError

_INDEX_FILE = "model.safetensors.index.json"
_WEIGHTS_FILE = "model.safetensors"
_IGNORED_CONFIG_KEYS = ("_name_or_path", "name_or_path", "transformers_version")
_TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_CHUNK_BYTES = 1 << 24


def compute_model_digest(folder: Path) -> str:
    """Return one hex sha256 over config.json and all named tensors.

    config.json is digested in canonical form, without paths and library versions.

    Raises:
        BaseModelError: config.json or the safetensors weights are missing or unreadable.
    """
    digest = hashlib.sha256(_read_canonical_json(folder / "config.json"))
    files = _find_weight_files(folder)
    entries: dict[str, tuple[Path, dict[str, Any], int]] = {}
    for file in files:
        header, start = _read_safetensors_header(file)
        for name, entry in header.items():
            if name != "__metadata__":
                entries[name] = (file, entry, start)
    for name in sorted(entries):
        file, entry, start = entries[name]
        digest.update(f"\0{name}\0{entry['dtype']}\0{entry['shape']}\0".encode())
        for chunk in _read_chunks(file, start + entry["data_offsets"][0], start + entry["data_offsets"][1]):
            digest.update(chunk)
    return digest.hexdigest()


def compute_tokenizer_digest(folder: Path) -> str:
    """Return one hex sha256 over all the tokenizer's files: JSON in canonical form, other files by their bytes.

    Raises:
        BaseModelError: the folder has no tokenizer.
    """
    digest = hashlib.sha256()
    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if not files:
        raise BaseModelError(
            "a tokenizer in the model's folder", f"none in {folder}", "save it there (save_pretrained)"
        )
    for file in files:
        content = _read_canonical_json(file) if file.suffix == ".json" else file.read_bytes()
        digest.update(f"\0{file.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _read_canonical_json(file: Path) -> bytes:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseModelError(f"{file.name} of a transformers model", f"none in {file.parent}", _FIX) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise BaseModelError("JSON", f"{file}: {problem}", _FIX) from None
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key not in _IGNORED_CONFIG_KEYS}
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _find_weight_files(folder: Path) -> list[Path]:
    if (folder / _INDEX_FILE).is_file():
        index = json.loads((folder / _INDEX_FILE).read_text(encoding="utf-8"))
        files = sorted({folder / name for name in index["weight_map"].values()})
    else:
        files = [folder / _WEIGHTS_FILE]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise BaseModelError("weights as safetensors", f"no {missing[0]}", "save the model as safetensors")
    return files


def _read_safetensors_header(file: Path) -> tuple[dict[str, Any], int]:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        try:
            if size > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(size))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
            if 8 + size + end != file.stat().st_size:
                raise ValueError("it is truncated")
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise BaseModelError("weights as safetensors", f"{file}: {problem}", _FIX) from None
    return header, 8 + size


def _read_chunks(file: Path, start: int, end: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(start)
        while start < end:
            chunk = stream.read(min(_CHUNK_BYTES, end - start))
            if not chunk:
                raise BaseModelError("weights as safetensors", f"{file} truncated", _FIX)
            start += len(chunk)
            yield chunk


_FIX = "fetch or save the model again"
