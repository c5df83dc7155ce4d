"""The manifest of a tenant's artifact: its fields and its file. Does not open the tensors."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.config import TENANT_ID, TrainConfig
from components.errors import ArtifactError, SchemaError
from components.storage.json_text import parse_json, read_bounded

ARTIFACT_SCHEMA = 2
TENSORS_FILE = "prefix.safetensors"
MANIFEST_FILE = "manifest.json"

ARTIFACT_FIX = "fetch the artifact again from the registry, or train the tenant again"
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_HEADER_BYTES = 16 << 20
_MAX_SLOT_BYTES, _MAX_WEIGHT_BYTES = 4 << 30, 64 << 30
"""Limits of the tensors of a method with slots or demonstrations only, and of one with weights."""
_METHODS_WITHOUT_WEIGHTS = ("prefix", "infix", "embedding", "in-context")
_VALUE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1}

HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


def find_lora_layers(tensor_names: Iterable[str]) -> frozenset[str]:
    """Return the paths of the layers that a LoRA artifact changes; `tensor_names` are lora.<path>.<A|B>."""
    return frozenset(name.removeprefix("lora.").rpartition(".")[0] for name in tensor_names)


def find_layers_outside_blocks(tensor_names: Iterable[str]) -> list[str]:
    """Return the layers of a LoRA artifact that belong to no block of the base, such as the output layer `lm_head`.

    The path of a layer in a block has the block's number.
    """
    paths = find_lora_layers(tensor_names)
    return sorted(path for path in paths if not any(part.isdecimal() for part in path.split(".")))


class Manifest(BaseModel):
    """Identity, training data, training config and base of a prefix (or of another method's delta)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: int
    tenant: str = Field(pattern=f"^{TENANT_ID.pattern}$")
    base_name: str = Field(description="folder or id of the base; a label, only the digest is checked")
    base_digest: HexDigest
    tokenizer_digest: HexDigest
    prefix_length: Count = Field(description="P, slots per layer; 0 for a method without slots")
    method: str
    dtype: str = Field(description="torch's dtype of every tensor, such as float32 or bfloat16")
    dataset_version: str
    data_digest: HexDigest
    train: dict[str, Any] = Field(description="the train section with the tenant's overrides")
    fingerprint: HexDigest
    sha256: HexDigest = Field(description="digest of the bytes of prefix.safetensors")
    parameters: Count = Field(description="number of trained values in all tensors")
    shapes: dict[str, list[Count]] = Field(
        description="tensor name -> its shape; keys and values are [heads, slots, head size]"
    )
    made_from: dict[str, HexDigest] = Field(
        default_factory=dict, description="sha256 of the artifacts it was made from: shared, warm_start, imported"
    )

    def compute_size_limit(self, folder: Path) -> int:
        """Return how many bytes the file of the tensors may have: what `shapes` and `dtype` need, and a header.

        Raises:
            ArtifactError: this is more than any artifact of the method needs, or the dtype is unknown.
        """
        if self.dtype not in _VALUE_BYTES:
            got = f"dtype {self.dtype!r} in {folder / MANIFEST_FILE}"
            raise ArtifactError(f"a dtype of {', '.join(_VALUE_BYTES)}", got, ARTIFACT_FIX)
        needed = _VALUE_BYTES[self.dtype] * sum(math.prod(shape) for shape in self.shapes.values())
        most = _MAX_SLOT_BYTES if self.method in _METHODS_WITHOUT_WEIGHTS else _MAX_WEIGHT_BYTES
        if needed > most:
            got = f"shapes that need more in {folder / MANIFEST_FILE}"
            raise ArtifactError(f"tensors of at most {most} bytes for method {self.method}", got, ARTIFACT_FIX)
        return needed + _MAX_HEADER_BYTES

    def parse_train_config(self, folder: Path) -> TrainConfig:
        """Return the train section; `folder` is the artifact's, for messages.

        Raises:
            ArtifactError: a field is unknown or of the wrong type, or the section has another method.
        """
        if self.train.get("method", self.method) != self.method:
            got = f"train.method {self.train['method']!r} in {folder / MANIFEST_FILE}"
            raise ArtifactError(f"a train section of method {self.method}", got, ARTIFACT_FIX)
        try:
            return TrainConfig.model_validate({**self.train, "method": self.method})
        except ValidationError as problems:
            first = problems.errors()[0]
            got = f"{'.'.join(map(str, first['loc']))} = {first['input']!r} in {folder / MANIFEST_FILE}"
            raise ArtifactError(f"a valid train section ({first['msg']})", got, ARTIFACT_FIX) from None


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder, checked only against its schema (`load_artifact` checks the tensors).

    Raises:
        ArtifactError: the file is missing or not JSON, or a field is missing, unknown or of the wrong type.
        SchemaError: the manifest has another schema version.
    """
    path = folder / MANIFEST_FILE
    content = read_artifact_file(path, _MAX_MANIFEST_BYTES)
    try:
        values = parse_json(content)
    except ValueError as problem:
        raise ArtifactError("a manifest in JSON", f"{path}: {problem}", ARTIFACT_FIX) from None
    if not isinstance(values, dict):
        raise ArtifactError("a manifest with fields", f"{path}: a {type(values).__name__}", ARTIFACT_FIX)
    if values.get("schema_version") != ARTIFACT_SCHEMA:
        got = f"{path}: schema_version {values.get('schema_version')!r}"
        raise SchemaError(
            f"artifact schema {ARTIFACT_SCHEMA}", got, "use the PrefixFleet version that wrote it, or train again"
        )
    return parse_manifest(values, str(path))


def parse_manifest(values: dict[str, Any], where: str) -> Manifest:
    """Return the manifest with these fields; `where` names their origin in messages.

    Raises:
        ArtifactError: a field is missing, unknown or of the wrong type.
    """
    try:
        return Manifest.model_validate(values)
    except ValidationError as problems:
        first = problems.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        got = f"{where}: {field} = {first['input']!r}" if first["type"] != "missing" else f"no {field} in {where}"
        raise ArtifactError(f"a valid manifest field ({first['msg']})", got, ARTIFACT_FIX) from None


def read_artifact_file(path: Path, limit: int) -> bytes:
    """Return the content of an artifact's file, at most `limit` bytes; a larger file is not read.

    Raises:
        ArtifactError: the file is missing, too large or unreadable.
    """
    try:
        return read_bounded(path, limit)
    except ValueError as problem:
        raise ArtifactError(f"a file of at most {limit} bytes", f"{path}: {problem}", ARTIFACT_FIX) from None
    except MemoryError:
        fix = "use a machine with more memory"
        raise ArtifactError("an artifact that fits in memory", f"{path.stat().st_size} bytes in {path}", fix) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"an artifact with {path.name}", f"none in {path.parent}", ARTIFACT_FIX) from None
    except OSError as problem:
        raise ArtifactError(f"a readable {path.name}", f"{path}: {problem}", "correct the file's permissions") from None
