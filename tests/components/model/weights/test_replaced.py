"""The parameters that full and top-k fine-tuning train; tied parameters stay tied."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.weights import WeightsConfig, make_trainable_weights, make_weights_from_tensors

FULL = WeightsConfig(kind="full")
TOP = WeightsConfig(kind="top-k", top_layers=1)


def share_that_differs(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    differs = torch.cat([(one[name] != other[name]).flatten() for name in one])
    return float(differs.float().mean())


@pytest.mark.parametrize("config", [FULL, TOP], ids=["full", "top-k"])
def test_steps_too_small_for_16_bits_accumulate(
    build_model: Callable[..., Any], batch: dict[str, Tensor], config: WeightsConfig
) -> None:
    model = build_model("llama").to(torch.bfloat16)
    trainable = make_trainable_weights(model, config)
    weights = trainable.get_weights()
    assert {tensor.dtype for tensor in weights.tensors.values()} == {torch.float32}
    start = {name: tensor.detach().clone() for name, tensor in weights.tensors.items()}
    optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-5, weight_decay=0.0)
    with weights.apply(model):
        for _ in range(60):
            with weights.apply(model):
                model(**batch).loss.backward()
            assert all(parameter.grad.dtype == torch.float32 for parameter in trainable.parameters())
            optimizer.step()
            optimizer.zero_grad()
    end = trainable.collapse().tensors
    assert {tensor.dtype for tensor in end.values()} == {torch.bfloat16}
    assert share_that_differs(end, start) > 0.5


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_bfloat16_model_computes_with_the_present_weights(
    build_model: Callable[..., Any], logits: Callable[[Any], Tensor], batch: dict[str, Tensor], kind: str
) -> None:
    model = build_model(kind).to(torch.bfloat16)
    trainable = make_trainable_weights(model, FULL)
    weights, before = trainable.get_weights(), logits(model)
    with weights.apply(model):
        with torch.no_grad():
            for parameter in trainable.parameters():
                parameter.mul_(1.3)
        with weights.apply(model):
            within = logits(model)
        with weights.suspend():
            assert torch.equal(logits(model), before)
        assert torch.equal(logits(model), within)
    assert torch.equal(logits(model), before)
    assert not torch.equal(within, before)
    with make_weights_from_tensors(trainable.collapse().tensors, FULL).apply(model):
        assert torch.equal(logits(model), within)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5"])
def test_full_trains_every_parameter_once(build_model: Callable[..., Any], kind: str) -> None:
    model = build_model(kind)
    weights = make_trainable_weights(model, FULL).get_weights()
    assert list(weights.tensors) == [f"weight.{name}" for name, _ in model.named_parameters()]
    assert weights.parameter_count == sum(parameter.numel() for parameter in model.parameters())


def test_full_does_not_train_constant_parameters(
    build_model: Callable[..., Any],
) -> None:
    model = build_model("marian")
    names = {name.removeprefix("weight.") for name in make_trainable_weights(model, FULL).get_weights().tensors}
    left = {name for name, _ in model.named_parameters()} - names
    assert left == {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}


@pytest.mark.parametrize(("count", "blocks"), [(1, {"1"}), (2, {"0", "1"})])
def test_top_k_trains_the_last_blocks_of_the_decoder(
    build_model: Callable[..., Any], count: int, blocks: set[str]
) -> None:
    for kind, path in (("gpt2", "transformer.h."), ("bart", "model.decoder.layers.")):
        model = build_model(kind)
        weights = make_trainable_weights(model, WeightsConfig(kind="top-k", top_layers=count)).get_weights()
        inside = [name for name, _ in model.named_parameters() if name.startswith(path)]
        assert list(weights.tensors) == [f"weight.{n}" for n in inside if n.removeprefix(path)[0] in blocks]


def test_more_top_layers_than_blocks_are_refused(build_model: Callable[..., Any]) -> None:
    with pytest.raises(BaseModelError, match="decoder of 2"):
        make_trainable_weights(build_model("gpt2"), WeightsConfig(kind="top-k", top_layers=3))


@pytest.mark.parametrize("kind", ["gpt2", "opt", "bart", "t5"])
def test_a_tied_parameter_is_replaced_everywhere(
    build_model: Callable[..., Any], kind: str, logits: Callable[[Any], Tensor]
) -> None:
    model, changed = build_model(kind), build_model(kind)
    tensors = dict(make_trainable_weights(model, FULL).collapse().tensors)
    name = next(name for name, value in model.named_parameters() if value is model.get_input_embeddings().weight)
    tensors[f"weight.{name}"] *= 1.5
    with torch.no_grad():
        changed.get_parameter(name).mul_(1.5)
    with make_weights_from_tensors(tensors, FULL).apply(model):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert torch.equal(logits(model), logits(changed))
