"""Artifacts of every method whose values or shapes do not fit the base: the error names the tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import METHODS, change_train, forge, make_unusable, read_tensors

from components.errors import ArtifactError, BaseModelError
from components.model.base.load import Base
from components.registry.artifact import load_artifact


@pytest.mark.parametrize("method", [name for name in METHODS if name != "in-context"])
@pytest.mark.parametrize("value", [torch.uint8, torch.complex64, float("nan"), float("inf")])
def test_integers_complex_numbers_nan_and_infinity_are_refused(
    save_method: Callable[..., Path], gpt2_base: Base, method: str, value: Any
) -> None:
    folder = save_method(method)
    tensors = read_tensors(folder)
    name = max(tensors)
    make_unusable(tensors, name, value)
    forge(folder, tensors)
    with pytest.raises(ArtifactError, match=f"finite floating-point values.*{name}"):
        load_artifact(folder, gpt2_base)


@pytest.mark.parametrize(
    ("method", "name", "shape"),
    [
        ("prefix", "decoder.self.1.key", (4, 3, 9)),
        ("prefix", "decoder.self.1.key", ()),
        ("infix", "decoder.infix.0.value", (4, 2, 8)),
        ("embedding", "embedding.prompt", (3, 33)),
        ("embedding", "embedding.prompt", ()),
        ("embedding", "embedding.prompt", (32,)),
        ("embedding", "embedding.prompt", (3, 32, 1)),
        ("full", "weight.transformer.wte.weight", (68, 32)),
        ("top-k", "weight.transformer.h.1.ln_1.weight", (33,)),
        ("adapter", "adapter.transformer.h.0.down_weight", (2, 33)),
        ("adapter", "adapter.transformer.h.1.down_bias", (3,)),
        ("adapter", "adapter.transformer.h.0.down_bias", ()),
        ("prefix+adapter", "adapter.transformer.h.0.norm_weight", (32, 1)),
        ("lora", None, (2, 33)),
        ("prefix+lora", None, ()),
    ],
)
def test_the_error_names_a_tensor_that_does_not_fit_the_base(
    save_method: Callable[..., Path], gpt2_base: Base, method: str, name: str | None, shape: tuple[int, ...]
) -> None:
    folder = save_method(method)
    tensors = read_tensors(folder)
    name = name or min(known for known in tensors if known.startswith("lora."))
    assert name in tensors, sorted(tensors)
    tensors[name] = torch.ones(shape)
    slots = {"prefix_length": shape[0]} if method == "embedding" and shape else {}
    values = sum(tensor.numel() for tensor in tensors.values())
    forge(folder, tensors, parameters=values, **slots)
    with pytest.raises((ArtifactError, BaseModelError)) as refused:
        load_artifact(folder, gpt2_base)
    message = str(refused.value)
    assert (name.rpartition(".")[0] if shape == () else name) in message or "a soft prompt" in message, message


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("top-k", {"top_layers": 2}, r"weight\.transformer\.h\.0"),
        ("top-k", {"top_layers": 9}, "top 9 layers"),
        ("lora", {"lora_rank": 10**9}, "1000000000"),
    ],
)
def test_a_train_section_that_does_not_fit_the_tensors_is_refused(
    save_method: Callable[..., Path], gpt2_base: Base, method: str, changes: dict[str, Any], message: str
) -> None:
    folder = save_method(method)
    forge(folder, read_tensors(folder), train=change_train(folder, **changes))
    with pytest.raises(BaseModelError, match=message):
        load_artifact(folder, gpt2_base)


@pytest.mark.parametrize("method", ["prefix", "embedding", "full", "adapter", "lora", "prefix+lora"])
def test_an_artifact_of_a_wider_base_is_refused(
    save_method: Callable[..., Path], build_base: Callable[..., Base], gpt2_base: Base, method: str
) -> None:
    """Both bases have the same digest here, so only the shapes differ."""
    folder = save_method(method, build_base("gpt2", n_embd=48))
    with pytest.raises(BaseModelError, match=r"48|12"):
        load_artifact(folder, gpt2_base)


@pytest.mark.parametrize("method", ["infix", "embedding"])
def test_methods_for_decoder_only_bases_are_refused_on_others(
    save_method: Callable[..., Path], build_base: Callable[..., Base], method: str
) -> None:
    with pytest.raises(BaseModelError, match=r"Bart|encoder\.self"):
        load_artifact(save_method(method), build_base("bart"))
