"""The manifest of an artifact: the same fields and checks as PrefixFleet's own reader, which a test compares.

Does not open the tensors.
"""

import json
import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.settings import HexDigest

ARTIFACT_SCHEMA = 2
TENSORS_FILE = "prefix.safetensors"
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
TENANT_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"

ARTIFACT_FIX = "fetch the artifact again from the registry, or train the tenant again"
Method = Literal["prefix", "lora"]
PREFIX: Final = "prefix"
LORA: Final = "lora"
_METHODS = (PREFIX, LORA)
_MAX_DEPTH = 64
_MAX_HEADER_BYTES, _MAX_SLOT_BYTES, _MAX_WEIGHT_BYTES = 16 << 20, 4 << 30, 64 << 30
_VALUE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1}

Count = Annotated[int, Field(ge=0)]


class LoraTrain(BaseModel):
    """What of the train section a LoRA depends on, with PrefixFleet's defaults."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    lora_rank: int = Field(default=8, gt=0)
    lora_alpha: float = Field(default=16.0, gt=0)


class Manifest(BaseModel):
    """Identity, training data, training config and base of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: int
    tenant: str = Field(pattern=TENANT_PATTERN)
    base_name: str
    base_digest: HexDigest
    tokenizer_digest: HexDigest
    prefix_length: Count
    method: str
    dtype: str
    dataset_version: str
    data_digest: HexDigest
    train: dict[str, Any]
    fingerprint: HexDigest
    sha256: HexDigest
    parameters: Count
    shapes: dict[str, list[Count]]
    made_from: dict[str, HexDigest] = Field(default_factory=dict)

    def compute_size_limit(self, where: str) -> int:
        """Return how many bytes the file of the tensors may have.

        Raises:
            PluginError: this is more than any artifact of the method needs, or the dtype is unknown.
        """
        if self.dtype not in _VALUE_BYTES:
            wanted = f"a dtype of {', '.join(_VALUE_BYTES)}"
            raise PluginError("artifact", wanted, f"dtype {self.dtype!r} in {where}", ARTIFACT_FIX)
        needed = _VALUE_BYTES[self.dtype] * sum(math.prod(shape) for shape in self.shapes.values())
        most = _MAX_WEIGHT_BYTES if self.method == LORA else _MAX_SLOT_BYTES
        if needed > most:
            got = f"shapes that need more in {where}"
            raise PluginError("artifact", f"tensors of at most {most} bytes", got, ARTIFACT_FIX)
        return needed + _MAX_HEADER_BYTES

    def check_method(self, where: str) -> None:
        """Check that the artifact is a prefix of keys and values alone, or a LoRA alone.

        Raises:
            PluginError: it is of another method, or also has initial states of recurrent layers.
        """
        if self.train.get("method", self.method) != self.method:
            got = f"train.method {self.train['method']!r} in {where}"
            raise PluginError("artifact", f"a train section of method {self.method}", got, ARTIFACT_FIX)
        if self.method not in _METHODS or self.train.get("initial_state"):
            got = f"method {self.method}" + (" with initial states" if self.train.get("initial_state") else "")
            fix = "serve this tenant with PrefixFleet's own engine"
            raise PluginError("artifact", f"an artifact of method {' or '.join(_METHODS)}", f"{got} in {where}", fix)

    def parse_lora(self, where: str) -> LoraTrain:
        """Return rank and scale of an artifact of method lora.

        Raises:
            PluginError: one of them is no number above 0.
        """
        try:
            return LoraTrain.model_validate(self.train)
        except ValidationError as problems:
            first = problems.errors()[0]
            got = f"train.{first['loc'][0]} = {first['input']!r} in {where}"
            raise PluginError("artifact", f"a valid train section ({first['msg']})", got, ARTIFACT_FIX) from None


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Return the manifest in a file's content; `where` names the file in messages.

    Raises:
        PluginError: it is not JSON, has another schema, or a field is missing, unknown or of the wrong type.
    """
    try:
        values = parse_json(content)
    except ValueError as problem:
        raise PluginError("artifact", "a manifest in JSON", f"{where}: {problem}", ARTIFACT_FIX) from None
    if not isinstance(values, dict):
        got = f"{where}: a {type(values).__name__}"
        raise PluginError("artifact", "a manifest with fields", got, ARTIFACT_FIX)
    if values.get("schema_version") != ARTIFACT_SCHEMA:
        got, fix = f"{where}: schema_version {values.get('schema_version')!r}", "use the release that wrote it"
        raise PluginError("artifact", f"artifact schema {ARTIFACT_SCHEMA}", got, fix)
    try:
        return Manifest.model_validate(values)
    except ValidationError as problems:
        first = problems.errors()[0]
        field = ".".join(map(str, first["loc"]))
        got = f"no {field} in {where}" if first["type"] == "missing" else f"{where}: {field} = {first['input']!r}"
        raise PluginError("artifact", f"a valid manifest field ({first['msg']})", got, ARTIFACT_FIX) from None


def parse_json(content: bytes) -> Any:
    """Return the values of UTF-8 JSON.

    Raises:
        ValueError: it is not JSON or not UTF-8, or is nested more than 64 deep.
    """
    try:
        values = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep") from None
    level = [values]
    for _ in range(_MAX_DEPTH):
        level = [inner for value in level for inner in _list_inner(value)]
        if not level:
            return values
    raise ValueError(f"nested more than {_MAX_DEPTH} deep")


def _list_inner(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inner if isinstance(each, dict | list)]
