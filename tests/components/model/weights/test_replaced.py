"""What full and top-k fine-tuning train, and that tied parameters stay one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.weights import WeightsConfig, trainable_weights, weights_from_tensors

FULL = WeightsConfig(kind="full")


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5"])
def test_full_trains_every_parameter_once(build_model: Callable[..., Any], kind: str) -> None:
    model = build_model(kind)
    weights = trainable_weights(model, FULL).weights()
    assert list(weights.tensors) == [f"weight.{name}" for name, _ in model.named_parameters()]
    assert weights.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_full_leaves_constants_alone_that_a_frozen_base_does_not_tell_from_weights(
    build_model: Callable[..., Any],
) -> None:
    model = build_model("marian")
    names = {name.removeprefix("weight.") for name in trainable_weights(model, FULL).weights().tensors}
    left = {name for name, _ in model.named_parameters()} - names
    assert left == {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}


@pytest.mark.parametrize(("count", "blocks"), [(1, {"1"}), (2, {"0", "1"})])
def test_top_k_trains_the_last_blocks_of_the_decoder(
    build_model: Callable[..., Any], count: int, blocks: set[str]
) -> None:
    for kind, path in (("gpt2", "transformer.h."), ("bart", "model.decoder.layers.")):
        model = build_model(kind)
        weights = trainable_weights(model, WeightsConfig(kind="top-k", top_layers=count)).weights()
        inside = [name for name, _ in model.named_parameters() if name.startswith(path)]
        assert list(weights.tensors) == [f"weight.{n}" for n in inside if n.removeprefix(path)[0] in blocks]


def test_more_top_layers_than_blocks_are_refused(build_model: Callable[..., Any]) -> None:
    with pytest.raises(BaseModelError, match="decoder of 2"):
        trainable_weights(build_model("gpt2"), WeightsConfig(kind="top-k", top_layers=3))


@pytest.mark.parametrize("kind", ["gpt2", "opt", "bart", "t5"])
def test_a_tied_parameter_is_replaced_everywhere(
    build_model: Callable[..., Any], kind: str, logits: Callable[[Any], Tensor]
) -> None:
    model, changed = build_model(kind), build_model(kind)
    tensors = dict(trainable_weights(model, FULL).collapse().tensors)
    name = next(name for name, value in model.named_parameters() if value is model.get_input_embeddings().weight)
    tensors[f"weight.{name}"] *= 1.5
    with torch.no_grad():
        changed.get_parameter(name).mul_(1.5)
    with weights_from_tensors(tensors, FULL).applied(model):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert torch.equal(logits(model), logits(changed))
