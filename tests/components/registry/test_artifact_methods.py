"""Artifacts of every method with something wrong in them, signed anew as an attacker would: refused by name."""

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError, PrefixFleetError
from components.model.base.load import Base
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import load_artifact, save_artifact
from components.registry.manifest import read_manifest

METHODS: dict[str, dict[str, Any]] = {
    "prefix": {"prefix_length": 3},
    "infix": {"prefix_length": 3},
    "embedding": {"prefix_length": 3},
    "full": {},
    "top-k": {"top_layers": 1},
    "adapter": {"adapter_size": 2},
    "lora": {"lora_rank": 2},
    "in-context": {"demonstrations": 1},
    "prefix+adapter": {"prefix_length": 3, "adapter_size": 2},
    "prefix+lora": {"prefix_length": 3, "lora_rank": 2},
}
PAIRS = (("ab", "it is a"), ("cd", "it is c"))


@pytest.fixture
def base(build_base: Callable[..., Base]) -> Base:
    return build_base("gpt2")


@pytest.fixture
def saved(base: Base, tmp_path: Path) -> Callable[..., Path]:
    """A function of a method to a folder with its artifact."""

    def make(method: str, own: Base = base) -> Path:
        config = TrainConfig.model_validate({"method": method, **METHODS[method]})
        folder = tmp_path / method
        save_artifact(
            folder,
            TrainableDelta(own, config, "a b c", None, PAIRS).collapse(),
            tenant="acme",
            base_name="base",
            base_digest=own.digest,
            tokenizer_digest=own.tokenizer_digest,
            dataset_version="d" * 32,
            data_digest="e" * 64,
            train=config.model_dump(mode="json"),
            fingerprint="f" * 64,
            method=method,
        )
        return folder

    return make


def tensors_of(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "prefix.safetensors")


def forge(folder: Path, tensors: dict[str, Tensor], **changes: Any) -> None:
    """Write both files so that every digest and every signed fact agrees with the changed tensors and facts."""
    facts = {**json.loads((folder / "manifest.json").read_text()), **changes}
    facts["shapes"] = {name: list(tensor.shape) for name, tensor in tensors.items()}
    signed = {name: value for name, value in facts.items() if name not in ("sha256", "base_name")}
    content = save(tensors, {"prefixfleet": json.dumps(signed)})
    (folder / "prefix.safetensors").write_bytes(content)
    facts["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(facts))


def with_train(folder: Path, **changes: Any) -> dict[str, Any]:
    return {**read_manifest(folder).train, **changes}


@pytest.mark.parametrize("method", METHODS)
def test_a_forged_copy_without_changes_loads(saved: Callable[..., Path], base: Base, method: str) -> None:
    folder = saved(method)
    before = load_artifact(folder, base)[0].tensors
    forge(folder, tensors_of(folder))
    after = load_artifact(folder, base)[0].tensors
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize(("method", "other"), list(itertools.permutations(METHODS, 2)))
def test_tensors_of_another_method_are_refused(saved: Callable[..., Path], base: Base, method: str, other: str) -> None:
    """Full weights hold every tensor of the top layers' names, so those differ by what the base has a place for."""
    folder = saved(method)
    train = {**read_manifest(saved(other)).train}
    forge(folder, tensors_of(folder), method=other, train=train)
    with pytest.raises(PrefixFleetError) as refused:
        load_artifact(folder, base)
    told = str(refused.value)
    assert "method" in told or "weight." in told, told


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["evil.tensor", "decoder.self.0.query", "embedding.prompt.extra", "../up"])
def test_an_unknown_tensor_is_named(saved: Callable[..., Path], base: Base, method: str, name: str) -> None:
    folder = saved(method)
    forge(folder, {**tensors_of(folder), name: torch.zeros(2, 3, 8)})
    with pytest.raises(ArtifactError) as refused:
        load_artifact(folder, base)
    assert name in str(refused.value) or "keys and values" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evil": 1}, "evil"),
        ({"lora_rank": "8"}, "lora_rank"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"lora_targets": "c_attn"}, "lora_targets"),
        ({"method": "full"}, "train.method 'full'"),
    ],
)
def test_a_train_section_that_nobody_wrote_is_named(
    saved: Callable[..., Path], base: Base, changes: dict[str, Any], told: str
) -> None:
    folder = saved("lora")
    forge(folder, tensors_of(folder), train=with_train(folder, **changes))
    with pytest.raises(ArtifactError, match=told):
        load_artifact(folder, base)


def test_an_unknown_method_is_named(saved: Callable[..., Path], base: Base) -> None:
    folder = saved("prefix")
    train = read_manifest(folder).train
    del train["method"]
    forge(folder, tensors_of(folder), method="magic", train=train)
    with pytest.raises(ArtifactError, match="magic"):
        load_artifact(folder, base)


@pytest.mark.parametrize("case", ["byte", "cut", "float", "two dimensions", "empty", "blank pool", "layout", "count"])
def test_tampered_examples_are_refused(saved: Callable[..., Path], base: Base, case: str) -> None:
    folder = saved("in-context")
    (tensor,) = tensors_of(folder).values()
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
        load_artifact(folder, base)


def test_examples_that_were_exchanged_without_a_new_signature_are_refused(saved: Callable[..., Path]) -> None:
    folder = saved("in-context")
    path = folder / "prefix.safetensors"
    path.write_bytes(path.read_bytes().replace(b"it is a", b"it is z"))
    with pytest.raises(ArtifactError, match="sha256"):
        load_artifact(folder, None)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "in-context"])
@pytest.mark.parametrize("value", [torch.uint8, torch.complex64, float("nan"), float("inf")])
def test_values_that_nobody_trained_are_refused(
    saved: Callable[..., Path], base: Base, method: str, value: Any
) -> None:
    folder = saved(method)
    tensors = tensors_of(folder)
    name = max(tensors)
    if isinstance(value, float):
        tensors[name].view(-1)[0] = value
    else:
        tensors[name] = tensors[name].to(value)
    forge(folder, tensors)
    with pytest.raises(ArtifactError, match=f"finite floating-point values.*{name}"):
        load_artifact(folder, base)


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
def test_sizes_that_do_not_fit_the_base_are_named(
    saved: Callable[..., Path], base: Base, method: str, name: str | None, shape: tuple[int, ...]
) -> None:
    folder = saved(method)
    tensors = tensors_of(folder)
    name = name or min(known for known in tensors if known.startswith("lora."))
    assert name in tensors, sorted(tensors)
    tensors[name] = torch.ones(shape)
    slots = {"prefix_length": shape[0]} if method == "embedding" and shape else {}
    values = sum(tensor.numel() for tensor in tensors.values())
    forge(folder, tensors, parameters=values, **slots)
    with pytest.raises((ArtifactError, BaseModelError)) as refused:
        load_artifact(folder, base)
    told = str(refused.value)
    assert (name.rpartition(".")[0] if shape == () else name) in told or "a soft prompt" in told, told


@pytest.mark.parametrize(
    ("method", "changes", "told"),
    [
        ("top-k", {"top_layers": 2}, r"weight\.transformer\.h\.0"),
        ("top-k", {"top_layers": 9}, "top 9 layers"),
        ("lora", {"lora_rank": 10**9}, "1000000000"),
    ],
)
def test_a_train_section_that_does_not_fit_the_tensors_is_refused(
    saved: Callable[..., Path], base: Base, method: str, changes: dict[str, Any], told: str
) -> None:
    folder = saved(method)
    forge(folder, tensors_of(folder), train=with_train(folder, **changes))
    with pytest.raises(BaseModelError, match=told):
        load_artifact(folder, base)


@pytest.mark.parametrize("method", ["prefix", "embedding", "full", "adapter", "lora", "prefix+lora"])
def test_an_artifact_of_a_wider_base_is_refused(
    saved: Callable[..., Path], build_base: Callable[..., Base], base: Base, method: str
) -> None:
    """Digests are the same here: the sizes alone must tell."""
    folder = saved(method, build_base("gpt2", n_embd=48))
    with pytest.raises(BaseModelError, match=r"48|12"):
        load_artifact(folder, base)


@pytest.mark.parametrize("method", ["infix", "embedding"])
def test_what_stands_in_a_decoder_only_base_alone_is_refused_elsewhere(
    saved: Callable[..., Path], build_base: Callable[..., Base], method: str
) -> None:
    with pytest.raises(BaseModelError, match=r"Bart|encoder\.self"):
        load_artifact(saved(method), build_base("bart"))
