"""A model is restored after `apply` and inside `suspend`, also after an exception."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from components.model.weights import WeightsConfig, make_trainable_weights

Logits = Callable[[Any], Tensor]
Train = Callable[..., list[float]]
TOO_LARGE = 10_000


def anatomy(model: Any) -> tuple[list[Any], ...]:
    """Everything that weights could change on a model, by identity."""
    modules = [(name, id(module), module.training) for name, module in model.named_modules(remove_duplicate=False)]
    parameters = [
        (name, id(value), value.requires_grad, value._version, value.data_ptr())
        for name, value in model.named_parameters(remove_duplicate=False)
    ]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return modules, parameters, hooks, sorted(vars(model))


def test_the_model_is_restored(model: Any, config: WeightsConfig, logits: Logits, train: Train) -> None:
    before, base = anatomy(model), logits(model)
    trainable = make_trainable_weights(model, config)
    assert anatomy(model) == before
    train(model, trainable)
    assert anatomy(model) == before
    with trainable.get_weights().apply(model):
        assert anatomy(model) != before
    assert anatomy(model) == before
    with pytest.raises(IndexError), trainable.get_weights().apply(model):
        model(input_ids=torch.tensor([[TOO_LARGE]]))
    assert anatomy(model) == before
    assert torch.equal(logits(model), base)


def test_a_model_with_suspended_weights_computes_as_the_base(
    model: Any, config: WeightsConfig, logits: Logits, train: Train
) -> None:
    before, base = anatomy(model), logits(model)
    trainable = make_trainable_weights(model, config)
    train(model, trainable)
    weights = trainable.get_weights()
    with weights.apply(model):
        wanted = logits(model)
        with weights.suspend():
            assert anatomy(model) == before
            assert torch.equal(logits(model), base)
            with weights.suspend():
                assert torch.equal(logits(model), base)
            assert torch.equal(logits(model), base)
            with pytest.raises(RuntimeError, match=r"suspend\(\) of the same weights"), weights.apply(model):
                pass
        assert torch.equal(logits(model), wanted)
    assert not torch.equal(wanted, base)
    assert anatomy(model) == before


def test_the_same_weights_can_be_applied_twice_but_others_are_refused(
    build_model: Callable[..., Any], config: WeightsConfig, logits: Logits, train: Train
) -> None:
    model, base = build_model("gpt2"), logits(build_model("gpt2"))
    trainable = make_trainable_weights(model, config)
    train(model, trainable)
    weights, others = trainable.get_weights(), trainable.collapse()
    with weights.apply(model):
        wanted = logits(model)
        with weights.apply(model):
            assert torch.equal(logits(model), wanted)
        assert torch.equal(logits(model), wanted)
        with pytest.raises(RuntimeError, match="other weights"), others.apply(model):
            pass
        assert torch.equal(logits(model), wanted)
    assert torch.equal(logits(model), base)


def test_the_same_weights_can_be_applied_to_two_models_at_once(
    build_model: Callable[..., Any], config: WeightsConfig, logits: Logits, train: Train
) -> None:
    first, second = build_model("llama"), build_model("llama")
    base = logits(first)
    trainable = make_trainable_weights(first, config)
    train(first, trainable)
    weights = trainable.collapse()
    with weights.apply(first):
        wanted = logits(first)
        with weights.apply(second):
            assert torch.equal(logits(second), wanted)
            with weights.suspend():
                assert torch.equal(logits(second), base)
        assert torch.equal(logits(second), base)
        assert torch.equal(logits(first), wanted)


def test_moved_weights_do_not_check_the_model_again(model: Any, config: WeightsConfig, logits: Logits) -> None:
    weights = make_trainable_weights(model, config).collapse()
    assert weights.to(torch.device("cpu")) is weights
    weights.check_fits(model)
    before = anatomy(model)
    moved = weights.to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved.tensors.values()} == {"meta"}
    assert {tensor.device.type for tensor in weights.tensors.values()} == {"cpu"}
    moved.wanted = None  # type: ignore[attr-defined]
    moved.check_fits(model)
    assert anatomy(model) == before
    wanted = logits(model)
    with weights.apply(model):
        assert torch.allclose(logits(model), wanted, atol=1e-5)
        with pytest.raises(RuntimeError, match="other weights"), moved.apply(model):
            pass


@pytest.mark.parametrize("kind", ["full", "top-k", "lora"])
def test_a_checkpointed_backward_outside_is_refused(
    build_model: Callable[..., Any], kind: Any, batch: dict[str, Tensor]
) -> None:
    model = build_model("gpt2")
    model.activation_checkpointing_enable()
    model.train()
    trainable = make_trainable_weights(model, WeightsConfig(kind=kind))
    with trainable.get_weights().apply(model):
        loss = model(**batch).loss
    with pytest.raises(CheckpointError):
        loss.backward()
