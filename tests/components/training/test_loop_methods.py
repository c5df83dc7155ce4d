"""Every method through the same loop, on a decoder-only and an encoder-decoder base: learning and its artifact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_training import CASES, METHODS, TRAIN, TRAINED_CASES, VALIDATION, are_same, make_config, train
from plain_paths import turn_off

from components.config import TrainConfig
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_text
from components.model.delta import Delta
from components.registry.artifact import load_artifact, save_artifact


def save(folder: Path, base: Base, config: TrainConfig, delta: Delta) -> Any:
    return save_artifact(
        folder,
        delta,
        tenant="acme",
        base_name=base.name,
        base_digest=base.digest,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="d" * 32,
        data_digest="e" * 64,
        train=config.model_dump(mode="json"),
        fingerprint="f" * 64,
        method=config.method,
    )


@pytest.mark.parametrize(("kind", "method", "mlp"), CASES)
def test_every_method_learns_leaves_the_base_unchanged_and_saves_its_artifact(
    build_base: Callable[..., Base], tmp_path: Path, kind: str, method: str, mlp: int
) -> None:
    base = build_base(kind)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    modules = [(name, id(module), module.__dict__.keys()) for name, module in base.model.named_modules()]
    parameters = [(name, id(parameter)) for name, parameter in base.model.named_parameters()]
    config = make_config(method, mlp, max_steps=20, validate_every=10)
    result = train(base, config)
    if method == "in-context":
        assert (result.steps, result.delta.parameter_count) == (0, 0)
        assert result.delta.demonstrations is not None
        assert result.delta.demonstrations.pool == tuple((one.source, one.references[0]) for one in TRAIN)
    else:
        assert result.steps == 20
        assert result.validation_loss < 0.9 * result.curve[0].validation_loss
        assert result.validation_loss == min(point.validation_loss for point in result.curve)
        assert result.delta.parameter_count > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert [(name, id(module), module.__dict__.keys()) for name, module in base.model.named_modules()] == modules
    assert [(name, id(parameter)) for name, parameter in base.model.named_parameters()] == parameters
    assert not any(one.requires_grad or one.grad is not None for one in base.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.model.modules())

    manifest = save(tmp_path, base, config, result.delta)
    loaded, loaded_manifest = load_artifact(tmp_path, base)
    assert loaded_manifest == manifest
    assert (manifest.method, manifest.parameters) == (method, result.delta.parameter_count)
    assert manifest.prefix_length == (3 if METHODS[method].get("prefix_length") else 0)
    assert loaded.tensors.keys() == result.delta.tensors.keys()
    assert all(torch.equal(tensor, result.delta.tensors[name]) for name, tensor in loaded.tensors.items())
    sources = [one.source for one in VALIDATION]
    for beams in (1, 2):
        decoding = Decoding(num_beams=beams, max_new_tokens=8)
        texts = generate_text(base, loaded, sources, decoding, 4)
        assert texts == generate_text(base, result.delta, sources, decoding, 4)
        assert texts != generate_text(base, None, sources, decoding, 4)


@pytest.mark.parametrize(("kind", "method"), [case.values[:2] for case in TRAINED_CASES if not case.values[2]])
def test_gradient_checkpointing_changes_nothing(build_base: Callable[..., Base], kind: str, method: str) -> None:
    base = build_base(kind)
    with turn_off("cut_last_block"):  # checkpointed blocks are never cut
        plain, checkpointed = (
            train(base, make_config(method, max_steps=4, gradient_checkpointing=on)) for on in (False, True)
        )
    assert are_same(checkpointed, plain)
