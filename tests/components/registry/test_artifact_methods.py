"""Artifacts of every method with changed contents and correct digests: the error names the problem."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import METHODS, change_train, forge, read_tensors
from torch import Tensor

from components.errors import ArtifactError, PrefixFleetError
from components.model.base.load import Base
from components.registry.artifact import load_artifact
from components.registry.manifest import read_manifest


@pytest.mark.parametrize("method", METHODS)
def test_a_forged_copy_without_changes_loads(save_method: Callable[..., Path], gpt2_base: Base, method: str) -> None:
    folder = save_method(method)
    before = load_artifact(folder, gpt2_base)[0].tensors
    forge(folder, read_tensors(folder))
    after = load_artifact(folder, gpt2_base)[0].tensors
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize(("method", "other"), list(itertools.permutations(METHODS, 2)))
def test_tensors_of_another_method_are_refused(
    save_method: Callable[..., Path], gpt2_base: Base, method: str, other: str
) -> None:
    """Full weights include the tensors of the top layers, so the shapes in the base tell these two methods apart."""
    folder = save_method(method)
    train = {**read_manifest(save_method(other)).train}
    forge(folder, read_tensors(folder), method=other, train=train)
    with pytest.raises(PrefixFleetError) as refused:
        load_artifact(folder, gpt2_base)
    message = str(refused.value)
    assert "method" in message or "weight." in message, message


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["evil.tensor", "decoder.self.0.query", "embedding.prompt.extra", "../up"])
def test_the_error_names_an_unknown_tensor(
    save_method: Callable[..., Path], gpt2_base: Base, method: str, name: str
) -> None:
    folder = save_method(method)
    forge(folder, {**read_tensors(folder), name: torch.zeros(2, 3, 8)})
    with pytest.raises(ArtifactError) as refused:
        load_artifact(folder, gpt2_base)
    assert name in str(refused.value) or "keys and values" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evil": 1}, "evil"),
        ({"lora_rank": "8"}, "lora_rank"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"lora_targets": "c_attn"}, "lora_targets"),
        ({"method": "full"}, "train.method 'full'"),
    ],
)
def test_the_error_names_a_wrong_field_of_the_train_section(
    save_method: Callable[..., Path], gpt2_base: Base, changes: dict[str, Any], message: str
) -> None:
    folder = save_method("lora")
    forge(folder, read_tensors(folder), train=change_train(folder, **changes))
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder, gpt2_base)


def test_the_error_names_an_unknown_method(save_method: Callable[..., Path], gpt2_base: Base) -> None:
    folder = save_method("prefix")
    train = read_manifest(folder).train
    del train["method"]
    forge(folder, read_tensors(folder), method="magic", train=train)
    with pytest.raises(ArtifactError, match="magic"):
        load_artifact(folder, gpt2_base)


@pytest.mark.parametrize("case", ["byte", "cut", "float", "two dimensions", "empty", "blank pool", "layout", "count"])
def test_tampered_examples_are_refused(save_method: Callable[..., Path], gpt2_base: Base, case: str) -> None:
    folder = save_method("in-context")
    (tensor,) = read_tensors(folder).values()
    text = bytes(tensor.numpy()).decode()

    def encoded(changed: str) -> Tensor:
        return torch.tensor(list(changed.encode()), dtype=torch.uint8)

    values = json.loads(text)
    broken = {
        "byte": encoded("X" + text[1:]),
        "cut": tensor[:-1].clone(),
        "float": tensor.float(),
        "two dimensions": tensor[None].clone(),
        "empty": tensor[:0].clone(),
        "blank pool": encoded(text.replace("it is a", " ")),
        "layout": encoded(json.dumps(values, indent=1)),
        "count": encoded(text.replace('"count":1', '"count":true')),
    }[case]
    assert not (broken.dtype == tensor.dtype and torch.equal(broken, tensor))
    dtype = str(broken.dtype).removeprefix("torch.")
    forge(folder, {"in-context.examples": broken}, dtype=dtype)
    with pytest.raises(ArtifactError, match="demonstrations as a uint8 tensor"):
        load_artifact(folder, gpt2_base)


def test_examples_changed_without_a_new_digest_are_refused(save_method: Callable[..., Path]) -> None:
    folder = save_method("in-context")
    path = folder / "prefix.safetensors"
    path.write_bytes(path.read_bytes().replace(b"it is a", b"it is z"))
    with pytest.raises(ArtifactError, match="sha256"):
        load_artifact(folder, None)
