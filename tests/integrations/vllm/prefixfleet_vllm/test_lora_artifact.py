"""The plugin reads the LoRA artifacts that `save_artifact` writes, and refuses what `load_artifact` refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import change_manifest, forge, read_tensors
from prefixfleet_vllm.artifact import read_artifact
from prefixfleet_vllm.artifact_store import ArtifactStore
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.lora_artifact import VerifiedLora

from components.config import TrainConfig
from components.errors import ArtifactError
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest

Save = Callable[..., Manifest]
Tensors = dict[str, torch.Tensor]
NAME = "lora.layers.0.q_proj"


def read(folder: Path) -> VerifiedLora:
    store = ArtifactStore([str(folder.parent)])
    verified = read_artifact(lambda name, limit: store.read_file(f"file://{folder}", name, limit), str(folder))
    assert isinstance(verified, VerifiedLora)
    return verified


@pytest.mark.parametrize("train", [{"lora_rank": 2, "lora_alpha": 4.0}, {"method": "lora", "lora_rank": 2}])
def test_both_read_the_same(tmp_path: Path, save_lora: Save, train: dict[str, Any]) -> None:
    save_lora(tmp_path / "one", train=train)
    delta, manifest = load_artifact(tmp_path / "one", None)
    verified = read(tmp_path / "one")
    assert verified.manifest.model_dump() == manifest.model_dump()
    assert delta.weights is not None
    for path, pair in verified.matrices.items():
        for part, tensor in zip("AB", pair, strict=True):
            assert torch.equal(tensor, delta.weights.tensors[f"lora.{path}.{part}"])
    assert len(verified.matrices) == 2
    config = delta.weights.config
    assert (verified.train.lora_rank, verified.train.lora_alpha) == (config.lora_rank, config.lora_alpha)


def test_the_defaults_of_rank_and_alpha_are_the_projects(tmp_path: Path, save_lora: Save) -> None:
    train = read(_save_rank(tmp_path / "one", save_lora, 8, train={})).train
    assert (train.lora_rank, train.lora_alpha) == (TrainConfig().lora_rank, TrainConfig().lora_alpha)


def _save_rank(folder: Path, save_lora: Save, rank: int, **changes: Any) -> Path:
    save_lora(folder)
    tensors = {f"{NAME}.A": torch.ones(rank, 6), f"{NAME}.B": torch.ones(4, rank)}
    forge(folder, tensors, parameters=10 * rank, **changes)
    return folder


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "other"),
        ("prefix_length", 1),
        ("method", "prefix"),
        ("method", "adapter"),
        ("parameters", 41),
        ("train", {"lora_rank": 2, "lora_alpha": 5.0}),
        ("train", {"method": "prefix"}),
        ("shapes", {}),
        ("sha256", "0" * 64),
    ],
)
def test_both_refuse_a_changed_manifest(tmp_path: Path, save_lora: Save, field: str, value: Any) -> None:
    save_lora(tmp_path / "one")
    change_manifest(tmp_path / "one", **{field: value})
    with pytest.raises(ArtifactError):
        load_artifact(tmp_path / "one", None)
    with pytest.raises(PluginError) as refused:
        read(tmp_path / "one")
    assert refused.value.kind == "artifact"


def give_nan(tensors: Tensors) -> None:
    tensors[f"{NAME}.A"][0, 0] = torch.nan


def give_integers(tensors: Tensors) -> None:
    tensors[f"{NAME}.A"] = tensors[f"{NAME}.A"].to(torch.int32)


def give_two_dtypes(tensors: Tensors) -> None:
    tensors[f"{NAME}.A"] = tensors[f"{NAME}.A"].half()


def add_a_tensor(tensors: Tensors) -> None:
    tensors["more"] = torch.zeros(2)


def add_slots(tensors: Tensors) -> None:
    tensors |= {f"decoder.self.0.{kind}": torch.zeros(2, 3, 4) for kind in ("key", "value")}


@pytest.mark.parametrize("change", [give_nan, give_integers, give_two_dtypes, add_a_tensor, add_slots, dict.clear])
def test_both_refuse_tensors_of_no_lora_even_with_their_own_digests(
    tmp_path: Path, save_lora: Save, change: Callable[..., None]
) -> None:
    save_lora(tmp_path / "one")
    tensors = read_tensors(tmp_path / "one")
    change(tensors)
    forge(tmp_path / "one", tensors)
    with pytest.raises(ArtifactError):
        load_artifact(tmp_path / "one", None)
    with pytest.raises(PluginError) as refused:
        read(tmp_path / "one")
    assert refused.value.kind == "artifact"


def lack_a_matrix(tensors: Tensors) -> None:
    del tensors[f"{NAME}.A"]


def give_another_rank(tensors: Tensors) -> None:
    tensors[f"{NAME}.A"], tensors[f"{NAME}.B"] = torch.ones(3, 6), torch.ones(4, 3)


def flatten(tensors: Tensors) -> None:
    tensors[f"{NAME}.A"] = tensors[f"{NAME}.A"].flatten()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lack_a_matrix, f"no {NAME}.A"),
        (give_another_rank, r"A of \[2, inputs\]"),
        (flatten, r"A of \[2, inputs\]"),
    ],
)
def test_matrices_that_cannot_be_multiplied_are_refused_without_a_model(
    tmp_path: Path, save_lora: Save, change: Callable[..., None], text: str
) -> None:
    save_lora(tmp_path / "one")
    tensors = read_tensors(tmp_path / "one")
    change(tensors)
    forge(tmp_path / "one", tensors, parameters=sum(each.numel() for each in tensors.values()))
    with pytest.raises(PluginError, match=text):
        read(tmp_path / "one")


@pytest.mark.parametrize("train", [{"lora_alpha": "16"}, {"lora_alpha": 0}, {"lora_rank": True}, {"lora_rank": 2.0}])
def test_both_refuse_a_rank_or_a_scale_that_is_no_number_above_0(
    tmp_path: Path, save_lora: Save, train: dict[str, Any]
) -> None:
    folder = _save_rank(tmp_path / "one", save_lora, 2, train={"lora_rank": 2, **train})
    with pytest.raises(ArtifactError, match="lora_"):
        load_artifact(folder, None)
    with pytest.raises(PluginError, match=r"train\.lora_"):
        read(folder)


def test_a_prefix_with_a_lora_is_refused_by_name(tmp_path: Path, save_lora: Save) -> None:
    save_lora(tmp_path / "one")
    tensors = read_tensors(tmp_path / "one")
    add_slots(tensors)
    train = {"prefix_length": 3, "lora_rank": 2}
    forge(tmp_path / "one", tensors, method="prefix+lora", train=train, prefix_length=3, parameters=40 + 48)
    load_artifact(tmp_path / "one", None)
    with pytest.raises(PluginError, match=r"method prefix or lora; got method prefix\+lora"):
        read(tmp_path / "one")
