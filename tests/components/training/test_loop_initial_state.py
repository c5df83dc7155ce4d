"""Training with `train.initial_state`: it starts from the base, resumes, and ends with a lower loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import architectures
import pytest
import torch
from method_training import are_same, make_config, stop_at, train

from components.data.pairs import TokenizedPair
from components.errors import BaseModelError, ConfigError
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.model.trainable_delta import TrainableDelta
from components.training.distributed.passes import run_local_passes
from components.training.objective import StepDeltas, TrainingExample

PAIRS = [TokenizedPair((5, 6, 7, 8, 9, 10, 11, 0), (12, 13, 0)), TokenizedPair((14, 0), (15, 16, 17, 18, 19, 20, 0))]


def make_module(base: Base, shared_prefix: Any = None, **values: Any) -> TrainableDelta:
    return TrainableDelta(base, make_config("prefix", initial_state=True, **values), "a b", shared_prefix, [])


@pytest.mark.parametrize("kind", architectures.INITIAL_STATES)
def test_training_starts_where_it_does_without_states_and_ends_lower(
    kind: str, build_base: Callable[..., Base]
) -> None:
    base = build_base(kind)
    without, result = (train(base, make_config("prefix", initial_state=one)) for one in (False, True))
    assert result.curve[0].validation_loss == pytest.approx(without.curve[0].validation_loss, rel=1e-5)
    assert result.validation_loss < result.curve[0].validation_loss
    assert result.train_loss < without.train_loss
    prefix = result.delta.prefix
    assert prefix is not None
    assert all(state.any() for state in prefix.states.values())
    more = sum(state.numel() for state in prefix.states.values())
    assert result.delta.parameter_count == without.delta.parameter_count + more


@pytest.mark.parametrize("kind", ["falcon_h1", "lfm2"])
def test_a_run_resumes_bit_by_bit(kind: str, build_base: Callable[..., Base], tmp_path: Path) -> None:
    base, config = build_base(kind), make_config("prefix", 12, initial_state=True)
    whole = train(base, config)
    train(base, config, state=tmp_path, run_key="a", stop=stop_at(3))
    resumed = train(base, config, state=tmp_path, run_key="a")
    assert resumed.resumed_from == 3
    assert are_same(resumed, whole)
    warm = train(base, config, start=whole.delta)
    assert warm.curve[0].validation_loss == pytest.approx(whole.validation_loss, rel=1e-3)


def test_tenants_with_and_without_states_share_passes(build_base: Callable[..., Base]) -> None:
    """The sums and gradients of a pass of both are those of passes of each."""
    base = build_base("qwen3_5_text")
    modules = [make_module(base), TrainableDelta(base, make_config("prefix"), "a b", None, [])]
    rows = [TrainingExample(owner, pair) for owner in (0, 1) for pair in PAIRS]
    together = StepDeltas(base, [module.make_delta() for module in modules])
    sums = run_local_passes(together, rows, 10**6, train=True)
    together.propagate_gradients()
    gradients = [[parameter.grad for parameter in module.parameters()] for module in modules]
    for module, nats, wanted in zip(modules, sums.nats_U, gradients, strict=True):
        module.zero_grad()
        apart = StepDeltas(base, [module.make_delta()])
        own = run_local_passes(apart, [TrainingExample(0, pair) for pair in PAIRS], 1, train=True)
        apart.propagate_gradients()
        assert float(own.nats_U) == pytest.approx(float(nats), rel=1e-4)
        for parameter, gradient in zip(module.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-3)


def test_states_come_beside_the_slots_of_a_shared_prefix(build_base: Callable[..., Base]) -> None:
    base = build_base("lfm2")
    shared = make_random_prefix(base.shape, 2, 1)
    module = make_module(base, shared, shared="task")
    delta = module.collapse()
    assert (delta.length, delta.frozen_length) == (5, 2)
    own = 3 * base.shape.sites["decoder.self"].size
    assert delta.prefix is not None
    assert delta.parameter_count == own + sum(state.numel() for state in delta.prefix.states.values())
    with torch.no_grad():
        module.slots.states[0].add_(1.0)  # type: ignore[union-attr]
    again = make_module(base, shared, shared="task")
    again.load(module.collapse())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again.parameters(), module.parameters(), strict=True))


def test_a_start_without_states_is_refused(build_base: Callable[..., Base]) -> None:
    base = build_base("lfm2")
    without = TrainableDelta(base, make_config("prefix"), "a b", None, [])
    with pytest.raises(BaseModelError, match="a prefix with 1 initial states; got none; set"):
        make_module(base).load(without.collapse())
    with pytest.raises(BaseModelError, match="a prefix with no initial states; got 1"):
        without.load(make_module(base).collapse())


def test_a_prefix_of_states_alone_is_trained(build_base: Callable[..., Base]) -> None:
    result = train(build_base("lfm2"), make_config("prefix", initial_state=True, prefix_length=0))
    assert (result.delta.length, result.steps) == (0, 8)
    assert result.validation_loss < result.curve[0].validation_loss


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("jamba", "JambaForCausalLM: layer 0 ignores a given recurrent state"),
        ("llama", "LlamaForCausalLM: no layer keeps a recurrent state"),
        ("bart", "BartForConditionalGeneration: an encoder-decoder model"),
    ],
)
def test_a_base_that_takes_no_state_is_refused_before_training(
    kind: str, reason: str, build_base: Callable[..., Base]
) -> None:
    with pytest.raises(BaseModelError, match=f"{reason}.*set train.initial_state: false"):
        make_module(build_base(kind))


@pytest.mark.parametrize("method", ["infix", "embedding", "full", "adapter", "lora", "in-context"])
def test_a_method_without_a_prefix_before_the_source_is_refused(method: str, build_base: Callable[..., Base]) -> None:
    config = make_config(method, initial_state=True)
    with pytest.raises(ConfigError, match=f"for train.initial_state; got {method}"):
        TrainableDelta(build_base("lfm2"), config, "a b", None, [("a", "b")])


@pytest.mark.parametrize("method", ["prefix+adapter", "prefix+lora"])
def test_a_mixed_method_trains_states_and_weights(method: str, build_base: Callable[..., Base]) -> None:
    config = make_config(method, initial_state=True, lora_targets=["q_proj", "v_proj"])
    result = train(build_base("falcon_h1"), config)
    delta: Delta = result.delta
    assert delta.weights is not None
    assert delta.prefix is not None
    assert all(state.any() for state in delta.prefix.states.values())
