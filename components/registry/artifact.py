"""A tenant's delta on disk, of any method: `prefix.safetensors` beside `manifest.json`.

The two files check each other: the manifest holds the tensors' sha256, shapes and dtype, and the header of the tensors
holds the manifest's fields, so that neither file can be changed or replaced alone. Loading checks all of this, and the
base if one is passed. Does not know MLflow, training or the use of a prefix; never unpickles.

Shapes: H key/value heads, P slots of the prefix, D head size.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactError, BaseModelError
from components.registry.manifest import (
    ARTIFACT_FIX,
    ARTIFACT_SCHEMA,
    MANIFEST_FILE,
    TENSORS_FILE,
    Manifest,
    parse_manifest,
    read_artifact_file,
    read_manifest,
)
from components.storage.atomic_files import remove_temporaries, write_atomic
from components.storage.json_text import parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.base.load import Base
    from components.model.delta import Delta
    from components.model.prefix.prefix import Prefix


_METADATA_KEY = "prefixfleet"
_NOT_IN_HEADER = frozenset({"sha256", "base_name"})
"""The digest of the file itself, and a label that differs between machines."""


def save_artifact(
    folder: Path,
    delta: "Delta | Prefix",
    *,
    tenant: str,
    base_name: str,
    base_digest: str,
    tokenizer_digest: str,
    dataset_version: str,
    data_digest: str,
    train: Mapping[str, Any],
    fingerprint: str,
    method: str = "prefix",
    made_from: Mapping[str, str] | None = None,
) -> Manifest:
    """Write both files and return the manifest; other files in the folder are kept.

    Length, dtype, shapes, parameters and sha256 are computed from the tensors. Only one process may write a folder at a
    time; temporary files of killed writers are removed. The old artifact is replaced only when both files are complete.

    Raises:
        ArtifactError: values are not finite, tensors differ in dtype or length, or a field does not fit the manifest.
        WorkspaceError: the disk is full; the old artifact is kept.
    """
    from safetensors.torch import save

    from components.model.delta import to_delta

    delta = to_delta(delta)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in delta.tensors.items()}
    measured = _measure_tensors(delta, "the prefix to save")
    facts = {
        "schema_version": ARTIFACT_SCHEMA,
        "tenant": tenant,
        "base_name": base_name,
        "base_digest": base_digest,
        "tokenizer_digest": tokenizer_digest,
        "method": method,
        "dataset_version": dataset_version,
        "data_digest": data_digest,
        "train": json.loads(json.dumps(dict(train))),
        "fingerprint": fingerprint,
        "made_from": dict(made_from or {}),
        **measured,
    }
    content = save(tensors, {_METADATA_KEY: _format_header(facts)})
    manifest = parse_manifest({**facts, "sha256": hashlib.sha256(content).hexdigest()}, "the manifest to save")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest.model_dump(), indent=2, sort_keys=True) + "\n"
    for name in (TENSORS_FILE, MANIFEST_FILE):
        remove_temporaries(_make_staged_path(folder, name))
    _replace_files(folder, {TENSORS_FILE: content, MANIFEST_FILE: text.encode()})
    return manifest


def load_artifact(folder: Path, base: "Base | None") -> "tuple[Delta, Manifest]":
    """Return the checked delta of a folder, on the CPU, and its manifest; with `base=None` the base is not checked.

    Raises:
        ArtifactError: a file is missing, truncated or changed; the message has the file and the first mismatch.
        BaseModelError: the prefix was trained on another base or tokenizer (the message has both digests), or its
            shapes do not fit the base.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from components.model.delta import make_delta_from_tensors

    manifest = read_manifest(folder)
    path = folder / TENSORS_FILE
    content = read_artifact_file(path, manifest.compute_size_limit(folder))
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != manifest.sha256:
        got = f"{path}: sha256 {sha256} ({len(content)} bytes)"
        raise ArtifactError(f"tensors with sha256 {manifest.sha256} (from {MANIFEST_FILE})", got, ARTIFACT_FIX)
    try:
        tensors = load(content)
        header = _read_header(content)
    except (SafetensorError, ValueError) as problem:
        raise ArtifactError("a valid safetensors file", f"{path}: {problem}", ARTIFACT_FIX) from None
    facts = manifest.model_dump()
    delta = make_delta_from_tensors(manifest.method, tensors, manifest.parse_train_config(folder))  # type: ignore[arg-type]
    for field, value in _measure_tensors(delta, str(path)).items():
        _require_same(field, value, facts[field], folder)
    for field in Manifest.model_fields:
        if field not in _NOT_IN_HEADER:
            _require_same(field, header.get(field), facts[field], folder)
    if base is not None:
        _check_base(delta, manifest, base, folder)
    return delta, manifest


def copy_artifact(source: Path, folder: Path, sha256: str | None = None) -> Manifest:
    """Write a checked copy of an artifact into `folder`; an old artifact there is replaced when the copy is complete.

    Raises:
        ArtifactError: the source fails a check, or its tensors do not have this sha256.
        WorkspaceError: the disk is full.
    """
    manifest = load_artifact(source, None)[1]
    if sha256 is not None and manifest.sha256 != sha256:
        raise ArtifactError(f"a prefix with sha256 {sha256}", f"sha256 {manifest.sha256} in {source}", ARTIFACT_FIX)
    folder.mkdir(parents=True, exist_ok=True)
    _replace_files(folder, {name: (source / name).read_bytes() for name in (TENSORS_FILE, MANIFEST_FILE)})
    return manifest


def _check_base(delta: "Delta", manifest: Manifest, base: "Base", folder: Path) -> None:
    fix = "set base.path (or PREFIXFLEET_BASE) to that base, or train the tenant on this one"
    other_precision = "; for the same weights in another precision, list that digest in base.interchangeable"
    for part, wanted, got, taken, other in (
        ("base", manifest.base_digest, base.digest, base.interchangeable, other_precision),
        ("tokenizer", manifest.tokenizer_digest, base.tokenizer_digest, (), ""),
    ):
        if wanted != got and wanted not in taken:
            name = f"{base.name}, {base.quantization}" if base.quantization else base.name
            raise BaseModelError(
                f"the {part} that {manifest.tenant}'s prefix was trained on: digest {wanted} ({manifest.base_name})",
                f"digest {got} ({name}), for {folder}",
                fix + other,
            )
    delta.check_fits(base)


def _measure_tensors(delta: "Delta", where: str) -> dict[str, Any]:
    """Return the manifest's fields that follow from the tensors; refuse types and values that no trained delta has."""
    tensors = delta.tensors
    other_dtypes = {"uint8"} if delta.demonstrations is not None else set()
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in other_dtypes and not (tensor.is_floating_point() and _fits_16_bits(tensor)):
            got = f"integers, NaN or infinity in {name} ({tensor.dtype}) of {where}"
            raise ArtifactError("finite floating-point values, also in bfloat16", got, "train the tenant again")
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
    if len(dtypes) != 1:
        raise ArtifactError("tensors of one dtype", f"{', '.join(sorted(dtypes))} in {where}", ARTIFACT_FIX)
    return {
        "prefix_length": delta.length,
        "dtype": dtypes.pop(),
        "parameters": delta.parameter_count,
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
    }


def _fits_16_bits(tensor: "Tensor") -> bool:
    """Whether all values are finite, and stay so in the dtype of any base."""
    import torch

    limit = torch.finfo(torch.bfloat16).max
    return not tensor.numel() or all(abs(float(end)) <= limit for end in torch.aminmax(tensor))


def _format_header(facts: Mapping[str, Any]) -> str:
    kept = {field: value for field, value in facts.items() if field not in _NOT_IN_HEADER}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def _read_header(content: bytes) -> dict[str, Any]:
    """Return the manifest's fields in the safetensors header, whose length is in the first 8 bytes, little-endian."""
    size = int.from_bytes(content[:8], "little")
    metadata = parse_json(content[8 : 8 + size]).get("__metadata__") or {}
    facts = parse_json(metadata.get(_METADATA_KEY, "{}"))
    if not isinstance(facts, dict):
        raise ValueError(f"header {_METADATA_KEY!r} is a {type(facts).__name__}")
    return facts


def _require_same(field: str, in_tensors: Any, in_manifest: Any, folder: Path) -> None:
    if in_tensors != in_manifest:
        wanted = f"{field} {in_tensors!r} in {MANIFEST_FILE}, as in {TENSORS_FILE}"
        raise ArtifactError(wanted, f"{in_manifest!r} in {folder}", ARTIFACT_FIX)


def _replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files under temporary names, so that a full disk changes no old file, and then rename them in order."""
    staged = {name: _make_staged_path(folder, name) for name in files}
    try:
        for name, content in files.items():
            write_atomic(staged[name], content)
        for name, path in staged.items():
            path.replace(folder / name)
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)


def _make_staged_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.next"
