from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import change_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.errors import ArtifactError, BaseModelError, WorkspaceError
from components.model.base.shapes import PrefixShape
from components.model.prefix.prefix import Prefix
from components.registry import artifact
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest

Save = Callable[..., Manifest]
Make = Callable[..., Any]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_saved_prefix_loads_bit_identically(
    tmp_path: Path, save: Save, length: int, dtype: torch.dtype, make_prefix: Make, fake_base: Make
) -> None:
    prefix = make_prefix(length, dtype=dtype)
    manifest = save(tmp_path, prefix)
    loaded, read = load_artifact(tmp_path, fake_base())
    assert read == manifest
    assert manifest.prefix_length == length
    assert manifest.parameters == 2 * 2 * 2 * length * 4
    assert manifest.dtype == str(dtype).removeprefix("torch.")
    assert loaded.tensors.keys() == prefix.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], prefix.tensors[name]) for name in prefix.tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "prefix.safetensors"]


def test_saving_the_same_twice_gives_the_same_bytes(tmp_path: Path, save: Save) -> None:
    first, second = save(tmp_path / "a"), save(tmp_path / "b", base_name="/elsewhere/base")
    assert first.sha256 == second.sha256
    assert save(tmp_path / "c", tenant="other").sha256 != first.sha256


@pytest.mark.parametrize("file", ["manifest.json", "prefix.safetensors"])
def test_the_error_names_a_missing_file(tmp_path: Path, save: Save, file: str) -> None:
    save(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ArtifactError, match=file):
        load_artifact(tmp_path, None)


def test_the_error_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere"):
        load_artifact(tmp_path / "nowhere", None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "other"),
        ("base_digest", "0" * 64),
        ("tokenizer_digest", "0" * 64),
        ("prefix_length", 4),
        ("method", "lora"),
        ("dtype", "bfloat16"),
        ("dataset_version", "another"),
        ("data_digest", "0" * 64),
        ("train", {"prefix_length": 3, "learning_rate": 0.03, "init_text": None}),
        ("fingerprint", "0" * 64),
        ("parameters", 47),
        ("shapes", {}),
        ("sha256", "0" * 64),
    ],
)
def test_the_error_names_the_changed_field_of_a_manifest(tmp_path: Path, save: Save, field: str, value: Any) -> None:
    save(tmp_path)
    change_manifest(tmp_path, **{field: value})
    with pytest.raises(ArtifactError, match=field):
        load_artifact(tmp_path, None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_the_tensors_file_is_refused(tmp_path: Path, save: Save, data: st.DataObject) -> None:
    save(tmp_path)
    path = tmp_path / "prefix.safetensors"
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"prefix\.safetensors"):
        load_artifact(tmp_path, None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), size=st.integers(0, 2**64 - 1) | st.none())
def test_invalid_safetensors_are_refused_even_with_their_own_digest(
    tmp_path: Path, save: Save, content: bytes, size: int | None
) -> None:
    save(tmp_path)
    if size is not None:
        content = size.to_bytes(8, "little") + content
    (tmp_path / "prefix.safetensors").write_bytes(content)
    change_manifest(tmp_path, sha256=artifact.hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError):
        load_artifact(tmp_path, None)


def test_the_tensors_of_another_tenant_are_refused(tmp_path: Path, save: Save, make_prefix: Make) -> None:
    save(tmp_path / "a")
    other = save(tmp_path / "b", make_prefix(seed=1), tenant="other")
    (tmp_path / "b" / "prefix.safetensors").replace(tmp_path / "a" / "prefix.safetensors")
    change_manifest(tmp_path / "a", sha256=other.sha256)
    with pytest.raises(ArtifactError, match="tenant"):
        load_artifact(tmp_path / "a", None)


@pytest.mark.parametrize(("part", "attribute"), [("base", "digest"), ("tokenizer", "tokenizer_digest")])
def test_another_base_is_refused_with_both_digests(
    tmp_path: Path, save: Save, part: str, attribute: str, fake_base: Make
) -> None:
    save(tmp_path)
    with pytest.raises(BaseModelError, match=part) as refused:
        load_artifact(tmp_path, fake_base(**{attribute: "9" * 64}))
    assert getattr(fake_base(), attribute) in str(refused.value)
    assert "9" * 64 in str(refused.value)


def test_a_base_that_lists_the_prefix_s_base_as_interchangeable_takes_it(
    tmp_path: Path, save: Save, fake_base: Make
) -> None:
    save(tmp_path)
    other = {"digest": "9" * 64, "quantization": "torchao-int8"}
    with pytest.raises(BaseModelError, match=r"\(base, torchao-int8\).*list that digest in base\.interchangeable"):
        load_artifact(tmp_path, fake_base(**other))
    listed = frozenset({fake_base().digest})
    assert load_artifact(tmp_path, fake_base(**other, interchangeable=listed))[1].base_digest == fake_base().digest
    with pytest.raises(BaseModelError, match="the tokenizer that"):
        load_artifact(tmp_path, fake_base(**other, interchangeable=listed, tokenizer_digest="8" * 64))


@pytest.mark.parametrize("shape", [(1, 2, 4), (2, 1, 4), (2, 2, 8)])
def test_a_base_of_another_shape_is_refused(
    tmp_path: Path, save: Save, shape: tuple[int, int, int], fake_base: Make
) -> None:
    save(tmp_path)
    with pytest.raises(BaseModelError, match="2 layers x 2 key/value heads x 4"):
        load_artifact(tmp_path, fake_base(shape=PrefixShape(*shape)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_not_saved(tmp_path: Path, save: Save, value: float, make_prefix: Make) -> None:
    prefix = make_prefix()
    prefix.tensors["decoder.self.1.value"][0, 0, 0] = value
    with pytest.raises(ArtifactError, match=r"decoder\.self\.1\.value"):
        save(tmp_path, prefix)
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_several_dtypes_are_not_saved(tmp_path: Path, save: Save, make_prefix: Make) -> None:
    prefix = make_prefix()
    prefix.tensors["decoder.self.1.value"] = prefix.tensors["decoder.self.1.value"].half()
    with pytest.raises(ArtifactError, match="float16, float32"):
        save(tmp_path, prefix)


def test_a_full_disk_at_the_manifest_leaves_the_old_artifact(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch, make_prefix: Make
) -> None:
    old = save(tmp_path)
    (tmp_path / "loss.csv").write_text("kept")
    real = artifact.write_atomic

    def full(path: Path, content: bytes) -> None:
        if "manifest" in path.name:
            raise WorkspaceError("space on the disk", "none left", "free some")
        real(path, content)

    monkeypatch.setattr(artifact, "write_atomic", full)
    with pytest.raises(WorkspaceError):
        save(tmp_path, make_prefix(seed=1))
    assert load_artifact(tmp_path, None)[1] == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.csv", "manifest.json", "prefix.safetensors"]


def test_a_loaded_prefix_has_no_other_parts(tmp_path: Path, save: Save) -> None:
    save(tmp_path)
    delta = load_artifact(tmp_path, None)[0]
    assert isinstance(delta.prefix, Prefix)
    assert (delta.prompt_PW, delta.weights, delta.demonstrations) == (None, None, None)
