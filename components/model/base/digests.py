"""Content digests of a base, which do not depend on the folder or on how the weights are split into files.

Reads the files of a model folder; does not load the model.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.errors import BaseModelError
from components.storage.json_text import parse_json, read_bounded
from components.storage.tensor_header import read_tensor_header

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
_MAX_JSON_BYTES = 1 << 28
_FIX = "fetch or save the model again"


def compute_model_digest(folder: Path) -> str:
    """Return one hex sha256 over config.json and all named tensors.

    config.json is digested in canonical form, without paths and library versions.

    Raises:
        BaseModelError: config.json or the safetensors weights are missing or unreadable.
    """
    digest = hashlib.sha256(_read_canonical_json(folder / "config.json"))
    entries = _list_tensors(folder)
    for name in sorted(entries):
        file, entry, start = entries[name]
        digest.update(f"\0{name}\0{entry['dtype']}\0{entry['shape']}\0".encode())
        for chunk in _read_chunks(file, start + entry["data_offsets"][0], start + entry["data_offsets"][1]):
            digest.update(chunk)
    return digest.hexdigest()


def read_stored_dtypes(folder: Path) -> dict[str, str]:
    """Return name -> dtype of every tensor in the files, in the words of safetensors (F32, BF16, I8).

    Raises:
        BaseModelError: as `compute_model_digest`.
    """
    return {name: str(entry["dtype"]) for name, (_, entry, _) in _list_tensors(folder).items()}


def check_optional_json(file: Path) -> None:
    """Check a file that transformers leaves out without an error if it is broken.

    Raises:
        BaseModelError: the file exists and is not a JSON object.
    """
    if file.is_file() and not isinstance(_read_json(file), dict):
        raise BaseModelError("a JSON object", str(file), _FIX)


def has_safetensors(folder: Path) -> bool:
    """Whether the folder has weights as safetensors, or an index of them."""
    return (folder / _WEIGHTS_FILE).is_file() or (folder / _INDEX_FILE).is_file()


def find_pickles(folder: Path) -> list[Path]:
    """Return the folder's weights as pickles, sorted by name."""
    return sorted(folder.glob("pytorch_model*.bin"))


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


def mark_tokenizer_digest(digest: str, *, plain: bool) -> str:
    """Return the digest that names a tokenizer's ids; `plain`: it puts nothing before a text, not even a space.

    Earlier releases encoded other tokenizers without their lead tokens and with a second space. Prefixes that were
    trained on such ids have the digest of the files, so they are trained again.
    """
    return digest if plain else hashlib.sha256(f"{digest}\0running text".encode()).hexdigest()


def _read_canonical_json(file: Path) -> bytes:
    values = _read_json(file)
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key not in _IGNORED_CONFIG_KEYS}
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _read_json(file: Path) -> Any:
    try:
        return parse_json(read_bounded(file, _MAX_JSON_BYTES))
    except FileNotFoundError:
        raise BaseModelError(f"{file.name} of a transformers model", f"none in {file.parent}", _FIX) from None
    except (ValueError, OSError) as problem:
        raise BaseModelError("JSON", f"{file}: {problem}", _FIX) from None


def _list_tensors(folder: Path) -> dict[str, tuple[Path, dict[str, Any], int]]:
    """Return name -> file, entry in its header, and offset of its first tensor."""
    entries: dict[str, tuple[Path, dict[str, Any], int]] = {}
    for file in _find_weight_files(folder):
        try:
            header = read_tensor_header(file)
        except (ValueError, OSError) as problem:
            raise BaseModelError("weights as safetensors", f"{file}: {problem}", _FIX) from None
        entries |= {name: (file, entry, header.start) for name, entry in header.entries.items()}
    return entries


def _find_weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads: the single file if there is one, else those of the index."""
    single, index = folder / _WEIGHTS_FILE, folder / _INDEX_FILE
    files = [single] if single.is_file() or not index.is_file() else _list_indexed_files(index)
    missing = [file for file in files if not file.is_file()]
    if missing:
        fix = "save the model as safetensors (save_pretrained)"
        raise BaseModelError("weights as safetensors", f"no {missing[0]}", fix)
    return files


def _list_indexed_files(index: Path) -> list[Path]:
    values = _read_json(index)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise BaseModelError("an index with a weight_map of file names", str(index), _FIX)
    outside = [name for name in names.values() if Path(name).name != name]
    if outside:
        raise BaseModelError("weights beside their index", f"{outside[0]!r} in {index}", _FIX)
    return sorted({index.parent / name for name in names.values()})


def _read_chunks(file: Path, start: int, end: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(start)
        while start < end:
            chunk = stream.read(min(_CHUNK_BYTES, end - start))
            if not chunk:
                raise BaseModelError("weights as safetensors", f"{file} truncated", _FIX)
            start += len(chunk)
            yield chunk
