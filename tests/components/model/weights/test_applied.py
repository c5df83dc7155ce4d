"""A base is itself again after `applied` and within `suspended`, whatever happens inside."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from components.model.weights import WeightsConfig, trainable_weights

Logits = Callable[[Any], Tensor]
Train = Callable[..., list[float]]
TOO_LARGE = 10_000


def anatomy(model: Any) -> tuple[list[Any], ...]:
    """Everything that weights could leave on a model, by identity."""
    modules = [(name, id(module), module.training) for name, module in model.named_modules(remove_duplicate=False)]
    parameters = [
        (name, id(value), value.requires_grad, value._version, value.data_ptr())
        for name, value in model.named_parameters(remove_duplicate=False)
    ]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return modules, parameters, hooks, sorted(vars(model))


def test_the_base_is_as_before(model: Any, config: WeightsConfig, logits: Logits, train: Train) -> None:
    before, base = anatomy(model), logits(model)
    trainable = trainable_weights(model, config)
    assert anatomy(model) == before
    train(model, trainable)
    assert anatomy(model) == before
    with trainable.weights().applied(model):
        assert anatomy(model) != before
    assert anatomy(model) == before
    with pytest.raises(IndexError), trainable.weights().applied(model):
        model(input_ids=torch.tensor([[TOO_LARGE]]))
    assert anatomy(model) == before
    assert torch.equal(logits(model), base)


def test_suspended_weights_leave_the_base(model: Any, config: WeightsConfig, logits: Logits, train: Train) -> None:
    before, base = anatomy(model), logits(model)
    trainable = trainable_weights(model, config)
    train(model, trainable)
    weights = trainable.weights()
    with weights.applied(model):
        wanted = logits(model)
        with weights.suspended():
            assert anatomy(model) == before
            assert torch.equal(logits(model), base)
            with weights.suspended():
                assert torch.equal(logits(model), base)
            assert torch.equal(logits(model), base)
            with pytest.raises(RuntimeError, match="suspended"), weights.applied(model):
                pass
        assert torch.equal(logits(model), wanted)
    assert not torch.equal(wanted, base)
    assert anatomy(model) == before


def test_the_same_weights_may_be_applied_twice_but_no_others(
    build_model: Callable[..., Any], config: WeightsConfig, logits: Logits, train: Train
) -> None:
    model, base = build_model("gpt2"), logits(build_model("gpt2"))
    trainable = trainable_weights(model, config)
    train(model, trainable)
    weights, others = trainable.weights(), trainable.collapse()
    with weights.applied(model):
        wanted = logits(model)
        with weights.applied(model):
            assert torch.equal(logits(model), wanted)
        assert torch.equal(logits(model), wanted)
        with pytest.raises(RuntimeError, match="other weights"), others.applied(model):
            pass
        assert torch.equal(logits(model), wanted)
    assert torch.equal(logits(model), base)


def test_one_artifact_serves_two_models_at_once(
    build_model: Callable[..., Any], config: WeightsConfig, logits: Logits, train: Train
) -> None:
    first, second = build_model("llama"), build_model("llama")
    base = logits(first)
    trainable = trainable_weights(first, config)
    train(first, trainable)
    weights = trainable.collapse()
    with weights.applied(first):
        wanted = logits(first)
        with weights.applied(second):
            assert torch.equal(logits(second), wanted)
            with weights.suspended():
                assert torch.equal(logits(second), base)
        assert torch.equal(logits(second), base)
        assert torch.equal(logits(first), wanted)


def test_moved_weights_need_no_second_look_at_the_model(model: Any, config: WeightsConfig, logits: Logits) -> None:
    weights = trainable_weights(model, config).collapse()
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
    with weights.applied(model):
        assert torch.allclose(logits(model), wanted, atol=1e-5)
        with pytest.raises(RuntimeError, match="other weights"), moved.applied(model):
            pass


@pytest.mark.parametrize("kind", ["full", "top-k", "lora"])
def test_a_checkpointed_backward_outside_is_refused(
    build_model: Callable[..., Any], kind: Any, batch: dict[str, Tensor]
) -> None:
    model = build_model("gpt2")
    model.activation_checkpointing_enable()
    model.train()
    trainable = trainable_weights(model, WeightsConfig(kind=kind))
    with trainable.weights().applied(model):
        loss = model(**batch).loss
    with pytest.raises(CheckpointError):
        loss.backward()
