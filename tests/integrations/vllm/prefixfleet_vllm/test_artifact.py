"""The plugin reads what `save_artifact` writes, and refuses what `load_artifact` refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import change_manifest, forge, read_tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefixfleet_vllm.artifact import Verified, VerifiedPrefix, check_wanted, read_artifact
from prefixfleet_vllm.artifact_store import ArtifactStore
from prefixfleet_vllm.errors import PluginError

from components.errors import ArtifactError
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest

Save = Callable[..., Manifest]


def read(folder: Path) -> Verified:
    store = ArtifactStore([str(folder.parent)])
    address = store.find_folder("", str(folder))
    return read_artifact(lambda name, limit: store.read_file(address, name, limit), address)


def assert_both_refuse(folder: Path) -> PluginError:
    with pytest.raises(ArtifactError):
        load_artifact(folder, None)
    with pytest.raises(PluginError) as refused:
        read(folder)
    assert refused.value.kind == "artifact"
    return refused.value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_both_read_the_same(tmp_path: Path, save: Save, dtype: torch.dtype) -> None:
    from components.model.prefix.prefix import Prefix

    tensors = {f"decoder.self.0.{kind}": torch.randn(2, 5, 4).to(dtype) for kind in ("key", "value")}
    save(tmp_path / "one", prefix=Prefix(tensors), train={"prefix_length": 5}, made_from={"shared": "a" * 64})
    delta, manifest = load_artifact(tmp_path / "one", None)
    verified = read(tmp_path / "one")
    assert verified.manifest.model_dump() == manifest.model_dump()
    assert delta.prefix is not None
    assert isinstance(verified, VerifiedPrefix)
    for (key, value), number in zip(verified.layers, range(1), strict=True):
        assert torch.equal(key, delta.prefix.get_layer(number)[0])
        assert torch.equal(value, delta.prefix.get_layer(number)[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "other"),
        ("tenant", "Not a label"),
        ("base_digest", "0" * 64),
        ("tokenizer_digest", "0" * 64),
        ("prefix_length", 4),
        ("prefix_length", -1),
        ("prefix_length", "3"),
        ("method", "lora"),
        ("dtype", "bfloat16"),
        ("dtype", "complex64"),
        ("dataset_version", "another"),
        ("data_digest", "0" * 64),
        ("train", {"prefix_length": 3, "learning_rate": 0.03}),
        ("train", {"method": "lora"}),
        ("train", []),
        ("fingerprint", "0" * 64),
        ("parameters", 47),
        ("shapes", {}),
        ("shapes", {"decoder.self.0.key": [1 << 40]}),
        ("sha256", "0" * 64),
        ("sha256", "x"),
        ("schema_version", 3),
        ("made_from", {"shared": "x"}),
        ("unknown", 1),
    ],
)
def test_both_refuse_a_changed_manifest(tmp_path: Path, save: Save, field: str, value: Any) -> None:
    save(tmp_path / "one")
    change_manifest(tmp_path / "one", **{field: value})
    assert_both_refuse(tmp_path / "one")


@pytest.mark.parametrize("field", sorted(set(Manifest.model_fields) - {"made_from"}))
def test_both_refuse_a_manifest_without_a_field(tmp_path: Path, save: Save, field: str) -> None:
    save(tmp_path / "one")
    path = tmp_path / "one" / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values[field]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert_both_refuse(tmp_path / "one")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 5000, b"9" * 5000])
def test_both_refuse_what_is_no_manifest(tmp_path: Path, save: Save, content: bytes) -> None:
    save(tmp_path / "one")
    (tmp_path / "one" / "manifest.json").write_bytes(content)
    assert_both_refuse(tmp_path / "one")


@pytest.mark.parametrize("name", ["manifest.json", "prefix.safetensors"])
def test_both_refuse_a_missing_file_by_its_name(tmp_path: Path, save: Save, name: str) -> None:
    save(tmp_path / "one")
    (tmp_path / "one" / name).unlink()
    assert name in str(assert_both_refuse(tmp_path / "one"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_refuse_any_change_of_the_tensors(tmp_path: Path, save: Save, data: st.DataObject) -> None:
    save(tmp_path / "one")
    path = tmp_path / "one" / "prefix.safetensors"
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    assert_both_refuse(tmp_path / "one")


def give_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.self.0.key"][0, 0, 0] = torch.nan


def give_integers(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.self.0.key"] = tensors["decoder.self.0.key"].to(torch.int32)


def give_two_dtypes(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.self.0.key"] = tensors["decoder.self.0.key"].half()


def give_two_lengths(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.self.0.key"] = tensors["decoder.self.0.key"][:, :2].contiguous()


def give_flat_tensors(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.self.0.key"] = tensors["decoder.self.0.key"][0].contiguous()


def lack_a_value(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["decoder.self.1.value"]


def lack_a_layer(tensors: dict[str, torch.Tensor]) -> None:
    for kind in ("key", "value"):
        tensors[f"decoder.self.2.{kind}"] = tensors.pop(f"decoder.self.1.{kind}")


def add_a_tensor(tensors: dict[str, torch.Tensor]) -> None:
    tensors["more"] = torch.zeros(2)


@pytest.mark.parametrize(
    "change",
    [
        give_nan,
        give_integers,
        give_two_dtypes,
        give_two_lengths,
        give_flat_tensors,
        lack_a_value,
        lack_a_layer,
        add_a_tensor,
        dict.clear,
    ],
)
def test_both_refuse_tensors_of_no_prefix_even_with_their_own_digests(
    tmp_path: Path, save: Save, change: Callable[..., None]
) -> None:
    save(tmp_path / "one")
    tensors = read_tensors(tmp_path / "one")
    change(tensors)
    forge(tmp_path / "one", tensors)
    assert_both_refuse(tmp_path / "one")


def test_an_artifact_of_another_method_is_refused_by_name(tmp_path: Path, save: Save) -> None:
    from components.model.prefix.prefix import Prefix

    infix = Prefix({f"decoder.infix.0.{kind}": torch.randn(2, 3, 4) for kind in ("key", "value")})
    save(tmp_path / "one", prefix=infix, method="infix")
    load_artifact(tmp_path / "one", None)
    with pytest.raises(PluginError, match="method infix"):
        read(tmp_path / "one")


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"sha256": "0" * 64}, "artifact", "sha256"),
        ({"tenant": "other"}, "artifact", "tenant other; got acme"),
        ({"method": "lora"}, "artifact", "method lora; got prefix"),
        ({"length": 4}, "artifact", "prefix_length 4; got 3"),
        ({"base_digests": {"9" * 64}}, "base", "9" * 64),
    ],
)
def test_an_artifact_that_is_not_the_one_asked_for_is_refused(
    tmp_path: Path, save: Save, changes: dict[str, Any], kind: str, text: str
) -> None:
    manifest = save(tmp_path / "one")
    found = read(tmp_path / "one").manifest
    named = {"sha256": manifest.sha256, "tenant": "acme", "method": "prefix", "length": 3}
    wanted: dict[str, Any] = {**named, "base_digests": {"b" * 64}, "where": "one"}
    check_wanted(found, **wanted)
    with pytest.raises(PluginError, match=text) as refused:
        check_wanted(found, **{**wanted, **changes})
    assert refused.value.kind == kind
