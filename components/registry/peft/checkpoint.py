"""Reads PEFT checkpoints of prefix tuning, with every check that needs neither a base nor a prefix.

PEFT has always saved the final values as `prompt_embeddings`, even if an MLP computes them (`prefix_projection`). A
checkpoint has the MLP itself, as `prompt_encoder.*`, only if it was saved as the model's state dict. Both are read.
Never unpickles.

Shapes: L layers, P prefix slots, W = key/value heads * head size, O = L * 2 * W, M width of the MLP.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import ArtifactError
from components.storage.json_text import parse_json, read_bounded

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
PEFT_METHOD, PEFT_TASK, VALUES_TENSOR = "PREFIX_TUNING", "CAUSAL_LM", "prompt_embeddings"
RESAVE_FIX = "save the checkpoint with PeftModel.save_pretrained(FOLDER, save_embedding_layers=False)"

_FETCH_FIX = "download or save the checkpoint again"
_MAX_CONFIG_BYTES = 1 << 20
_MAX_TENSOR_BYTES = 4 << 30
_ENCODER_TENSOR_NAME = re.compile(
    r"(?:.*\.)?prompt_encoder\.(?:([^.]+)\.)?(embedding\.weight|transform\.[02]\.(?:weight|bias))"
)
_EMBEDDING_TENSOR = "embedding.weight"
_MLP_TENSORS = ("transform.0.weight", "transform.0.bias", "transform.2.weight", "transform.2.bias")


class PeftConfig(BaseModel):
    """The fields of adapter_config.json that matter to a trained prefix; PEFT's other fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    task_type: str | None = None
    base_model_name_or_path: str | None = None
    modules_to_save: list[str] | None = None
    num_transformer_submodules: int | None = 1
    num_virtual_tokens: int = Field(gt=0, description="P")
    num_layers: int = Field(gt=0, description="L")
    num_attention_heads: int = Field(gt=0, description="key/value heads")
    token_dim: int = Field(gt=0, description="W")


def read_peft_config(folder: Path) -> PeftConfig:
    """Return the config of a prefix for one frozen decoder.

    Raises:
        ArtifactError: the folder or the config is missing or broken, the method (named in the message) or the task is
            another one, or further modules were trained.
    """
    fields = _read_fields(folder)
    method = fields.get("peft_type")
    if method != PEFT_METHOD:
        fix = "train the tenant here, or import a checkpoint of PEFT's PrefixTuningConfig"
        raise ArtifactError(f"a PEFT checkpoint of {PEFT_METHOD}", f"one of {_format_value(method)} in {folder}", fix)
    try:
        config = PeftConfig.model_validate(fields)
    except ValidationError as problems:
        first = problems.errors()[0]
        field = ".".join(map(str, first["loc"]))
        got = f"no {field}" if first["type"] == "missing" else f"{field} = {_format_value(first['input'])}"
        raise ArtifactError(
            f"a valid {CONFIG_FILE} of PEFT", f"{got} in {folder}: {first['msg']}", RESAVE_FIX
        ) from None
    if config.task_type not in (PEFT_TASK, None) or config.num_transformer_submodules not in (1, None):
        got = f"task {config.task_type} on {config.num_transformer_submodules} submodules in {folder}"
        raise ArtifactError(f"a prefix for one decoder (task {PEFT_TASK})", got, "train the tenant here")
    if config.modules_to_save:
        got = f"{', '.join(config.modules_to_save)} trained too (modules_to_save) in {folder}"
        raise ArtifactError("a prefix on a completely frozen base", got, "train it without modules_to_save")
    return config


def read_values(folder: Path) -> "Tensor":
    """Return the prefix's values [P, O] in float32: as saved, or computed by the MLP as in PEFT's PrefixEncoder.

    Raises:
        ArtifactError: the tensors are missing, pickled or broken, there are other tensors, or values are not finite.
    """
    import torch
    from torch.nn.functional import linear

    tensors = _read_tensors(folder)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(tensor.float().isfinite().all()):
            got = f"integers, NaN or infinity in {name} ({tensor.dtype}) of {folder}"
            raise ArtifactError("finite floating-point values", got, "train the checkpoint again")
    parts = {name: tensor.float() for name, tensor in tensors.items()}
    if VALUES_TENSOR in parts:
        return parts[VALUES_TENSOR]
    mlp = parts.keys() - {_EMBEDDING_TENSOR}
    if _EMBEDDING_TENSOR not in parts or mlp not in (set(), set(_MLP_TENSORS)):
        missing = ", ".join(sorted({_EMBEDDING_TENSOR, *_MLP_TENSORS} - parts.keys()))
        raise ArtifactError("an embedding and its whole MLP", f"no {missing} in {folder}", RESAVE_FIX)
    if not mlp:
        return parts[_EMBEDDING_TENSOR]
    inner_weight_MW, inner_bias_M, outer_weight_OM, outer_bias_O = (parts[name] for name in _MLP_TENSORS)
    try:
        hidden_PM = torch.tanh(linear(parts[_EMBEDDING_TENSOR], inner_weight_MW, inner_bias_M))
        values_PO = linear(hidden_PM, outer_weight_OM, outer_bias_O)
    except RuntimeError:
        sizes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in parts.items())
        raise ArtifactError("an MLP with matching shapes", f"{sizes} in {folder}", RESAVE_FIX) from None
    if not bool(values_PO.isfinite().all()):
        raise ArtifactError("finite values", f"an MLP that overflows in {folder}", "train the checkpoint again")
    return values_PO


def read_metadata(folder: Path) -> dict[str, str]:
    """Return the metadata in the file of tensors; empty if the file is missing or broken."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def compute_weights_sha256(folder: Path) -> str:
    """Return the hex sha256 of the file of tensors."""
    with (folder / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_fields(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    wanted = f"a PEFT checkpoint with {CONFIG_FILE} and {WEIGHTS_FILE}"
    if not folder.is_dir():
        raise ArtifactError(wanted, f"no folder {folder}", "download the checkpoint, or correct the path")
    if not path.is_file():
        below = sorted(config.parent for config in folder.glob(f"*/{CONFIG_FILE}"))
        fix = f"name the adapter's own folder: {below[0]}" if below else "name the folder that PEFT saved"
        raise ArtifactError(wanted, f"no {CONFIG_FILE} in {folder}", fix)
    try:
        fields = parse_json(read_bounded(path, _MAX_CONFIG_BYTES))
        if not isinstance(fields, dict):
            raise ValueError(f"a {type(fields).__name__}")
    except (OSError, ValueError) as problem:
        raise ArtifactError(f"an {CONFIG_FILE} in JSON", f"{path}: {problem}", _FETCH_FIX) from None
    return fields


def _read_tensors(folder: Path) -> dict[str, "Tensor"]:
    """Return the tensors of the prefix by PEFT's names, without the adapter's name."""
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        if not (folder / PICKLE_FILE).is_file():
            raise ArtifactError(f"tensors in {WEIGHTS_FILE}", f"none in {folder}", _FETCH_FIX)
        got = f"only {PICKLE_FILE} in {folder}: a pickle, which can run any code when it is opened"
        fix = "if you trust it, load it with PEFT and call save_pretrained(FOLDER, safe_serialization=True)"
        raise ArtifactError(f"tensors in {WEIGHTS_FILE}", got, fix)
    try:
        if path.stat().st_size > _MAX_TENSOR_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, more than {_MAX_TENSOR_BYTES}")
        with safe_open(path, framework="pt") as file:
            return {short: file.get_tensor(name) for short, name in _shorten_names(list(file.keys()), folder).items()}
    except (SafetensorError, OSError, ValueError) as problem:
        raise ArtifactError("a valid safetensors file", f"{path}: {problem}", _FETCH_FIX) from None


def _shorten_names(names: list[str], folder: Path) -> Mapping[str, str]:
    if names == [VALUES_TENSOR]:
        return {VALUES_TENSOR: VALUES_TENSOR}
    matches = {name: _ENCODER_TENSOR_NAME.fullmatch(name) for name in names}
    adapters = {match[1] for match in matches.values() if match}
    foreign = [name for name, match in matches.items() if match is None]
    if foreign or len(adapters) != 1:
        got = f"{foreign[0]} and others" if foreign else f"{len(adapters)} adapters"
        raise ArtifactError(f"only {VALUES_TENSOR} or one prompt_encoder", f"{got} in {folder}", RESAVE_FIX)
    short = {match[2]: name for name, match in matches.items() if match}
    if len(short) != len(names):
        raise ArtifactError("one prompt_encoder", f"{', '.join(sorted(names))} in {folder}", RESAVE_FIX)
    return short


def _format_value(value: Any) -> str:
    return value[:60] if isinstance(value, str) else repr(value)[:60]
