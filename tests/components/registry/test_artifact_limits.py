"""Artifacts that are too large, nested too deep or full of digits are refused before they cost memory."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import change_manifest, forge, read_tensors
from safetensors.torch import save

from components.errors import ArtifactError
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest, read_manifest

Save = Callable[..., Manifest]
NESTED = '{"a":' * 950 + "1" + "}" * 950


def make_sparse(path: Path, size: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(size)


def test_tensors_larger_than_the_manifest_declares_are_not_read(tmp_path: Path, save: Save) -> None:
    save(tmp_path)
    make_sparse(tmp_path / "prefix.safetensors", 20 * 2**30)
    with pytest.raises(ArtifactError, match=rf"at most \d+ bytes; got .*prefix\.safetensors: {20 * 2**30} bytes"):
        load_artifact(tmp_path, None)


@pytest.mark.parametrize("shape", [[2, 2**40, 4], [10**4000, 10**4000], [10**9, 10**9]])
def test_a_manifest_that_declares_more_than_any_prefix_needs_is_refused(
    tmp_path: Path, save: Save, shape: list[int]
) -> None:
    manifest = save(tmp_path)
    change_manifest(tmp_path, shapes=dict.fromkeys(manifest.shapes, shape))
    make_sparse(tmp_path / "prefix.safetensors", 20 * 2**30)
    with pytest.raises(ArtifactError, match="tensors of at most 4294967296 bytes for method prefix"):
        load_artifact(tmp_path, None)


def test_an_unknown_dtype_is_refused(tmp_path: Path, save: Save) -> None:
    save(tmp_path)
    change_manifest(tmp_path, dtype="float8_e4m3fn")
    with pytest.raises(ArtifactError, match="dtype 'float8_e4m3fn'"):
        load_artifact(tmp_path, None)


@pytest.mark.parametrize(
    "text",
    [NESTED, "[" * 10**5, '{"schema_version": ' + "9" * 5000 + "}", '{"schema_version": 2, "train": ' + NESTED + "}"],
    ids=["nested", "open", "digits", "nested train section"],
)
def test_a_manifest_that_python_cannot_hold_is_refused(tmp_path: Path, save: Save, text: str) -> None:
    save(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    for read in (read_manifest, lambda folder: load_artifact(folder, None)):
        with pytest.raises(ArtifactError, match=r"manifest\.json"):
            read(tmp_path)


@pytest.mark.parametrize("facts", [NESTED, "[" * 10**5, "9" * 5000, "[]", "{"], ids=lambda facts: facts[:5])
def test_facts_in_the_tensors_that_python_cannot_hold_are_refused(tmp_path: Path, save: Save, facts: str) -> None:
    save(tmp_path)
    content = save_tensors(read_tensors(tmp_path), facts)
    (tmp_path / "prefix.safetensors").write_bytes(content)
    change_manifest(tmp_path, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError, match=r"prefix\.safetensors"):
        load_artifact(tmp_path, None)


def save_tensors(tensors: dict[str, torch.Tensor], facts: str) -> bytes:
    return save(tensors, {"prefixfleet": facts})


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (float("nan"), torch.float32),
        (float("inf"), torch.bfloat16),
        (-float("inf"), torch.float16),
        (torch.finfo(torch.float32).max, torch.float32),
        (1e300, torch.float64),
    ],
)
def test_values_that_are_not_finite_are_refused_even_if_all_digests_agree(
    tmp_path: Path, save: Save, value: float, dtype: torch.dtype
) -> None:
    save(tmp_path)
    tensors: dict[str, Any] = {name: tensor.to(dtype) for name, tensor in read_tensors(tmp_path).items()}
    next(iter(tensors.values())).view(-1)[0] = value
    forge(tmp_path, tensors, dtype=str(dtype).removeprefix("torch."))
    assert json.loads((tmp_path / "manifest.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        load_artifact(tmp_path, None)
