"""The trainable delta of every method: its initial values, gradients of all its parameters, and none of the base's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import make_letters

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError, ConfigError
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.delta import apply_deltas, make_delta_from_tensors
from components.model.prefix.initialization import make_initial_prompt, make_text_prefix
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta, count_slots

METHODS = ("prefix", "infix", "embedding", "full", "top-k", "adapter", "lora", "prefix+adapter", "prefix+lora")
PAIRS = (("red", "one"), ("blue", "two"))


@pytest.fixture(scope="module", params=("llama", "bart"))
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 6)


@pytest.fixture(scope="module")
def bos_base(build_base: Callable[..., Base]) -> Base:
    letters = make_letters()
    letters.bos_token = letters.eos_token
    return replace(build_base("llama", 6), tokenizer=letters)


def make_trainable(base: Base, shared: Prefix | None = None, text: str = "words", **values: Any) -> TrainableDelta:
    small = {"prefix_length": 3, "adapter_size": 4, "lora_rank": 3, "top_layers": 1}
    return TrainableDelta(base, TrainConfig(**{**small, **values}), text, shared, PAIRS)


def logits_of(base: Base, delta: Any) -> torch.Tensor:
    ids: dict[str, Any] = {"input_ids": torch.tensor([[5, 6, 7, 0, 9, 10]])}
    if base.is_encoder_decoder:
        ids["decoder_input_ids"] = torch.tensor([[1, 11, 12]])
    with apply_deltas(base, [delta], torch.tensor([3])):
        logits: torch.Tensor = base.model(**ids, use_cache=False).logits
    return logits


@pytest.mark.parametrize("mlp_hidden", [0, 5])
@pytest.mark.parametrize("method", METHODS)
def test_two_steps_change_every_parameter_but_not_the_base(base: Base, method: Any, mlp_hidden: int) -> None:
    if base.is_encoder_decoder and method in ("infix", "embedding"):
        with pytest.raises(BaseModelError, match="BartForConditionalGeneration"):
            make_trainable(base, method=method)
        return
    before = {name: parameter.clone() for name, parameter in base.model.named_parameters()}
    module = make_trainable(base, method=method, mlp_hidden=mlp_hidden)
    start = module.collapse()
    assert start.tensors
    weightless = method in ("full", "top-k", "adapter", "lora")
    if weightless:
        torch.testing.assert_close(logits_of(base, module.make_delta()), logits_of(base, None), rtol=0.0, atol=1e-5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        with_delta = module.make_delta()
        loss = logits_of(base, with_delta).logsumexp(-1).square().mean()
        with apply_deltas(base, [with_delta], torch.tensor([3])):
            loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in module.parameters())
    end = module.collapse()
    assert list(end.tensors) == list(start.tensors)
    moved = [not torch.equal(tensor, start.tensors[name]) for name, tensor in end.tensors.items()]
    assert sum(moved) >= 0.9 * len(moved)
    assert not any(tensor.requires_grad for tensor in end.tensors.values())
    assert all(torch.equal(before[name], parameter) for name, parameter in base.model.named_parameters())
    assert all(parameter.grad is None for parameter in base.model.parameters())
    torch.testing.assert_close(logits_of(base, end), logits_of(base, module.make_delta()), rtol=0.0, atol=1e-4)
    other = make_trainable(base, method=method, mlp_hidden=mlp_hidden)
    other.load(end)
    for name, tensor in other.collapse().tensors.items():
        torch.testing.assert_close(tensor, end.tensors[name], rtol=0.0, atol=1e-4)


def test_examples_are_not_trained(base: Base) -> None:
    module = make_trainable(base, method="in-context", demonstrations=1)
    assert list(module.parameters()) == []
    assert module.make_delta().parameter_count == 0
    examples = module.collapse().demonstrations
    assert examples is not None
    assert (examples.pool, examples.count) == (PAIRS, 1)


def test_slots_start_from_the_text(base: Base) -> None:
    start = make_trainable(base, text="name").collapse().prefix
    assert start is not None
    assert all(torch.equal(start.tensors[name], one) for name, one in make_text_prefix(base, "name", 3).tensors.items())
    if not base.is_encoder_decoder:
        prompt_PW = make_trainable(base, text="name", method="embedding").collapse().prompt_PW
        assert prompt_PW is not None
        assert torch.equal(prompt_PW, make_initial_prompt(base, 3, "text", "name", 0))


@pytest.mark.parametrize("training", ["frozen", "joint"])
@pytest.mark.parametrize("method", ["prefix", "prefix+lora"])
def test_own_slots_come_after_shared_ones(base: Base, method: Any, training: Any) -> None:
    shared = make_text_prefix(base, "shared", 4)
    module = make_trainable(base, shared, method=method, shared_training=training)
    delta = module.make_delta()
    assert delta.length == 7
    first = {name: tensor.clone() for name, tensor in module.collapse().tensors.items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    logits_of(base, delta).logsumexp(-1).square().mean().backward()
    optimizer.step()
    for name, tensor in module.collapse().prefix.tensors.items():  # type: ignore[union-attr]
        torch.testing.assert_close(first[name][:, :4], shared.tensors[name], rtol=0.0, atol=1e-6)
        assert torch.equal(tensor[:, :4], first[name][:, :4]) == (training == "frozen")
        assert not torch.equal(tensor[:, 4:], first[name][:, 4:])
    other = make_trainable(base, shared, method=method, shared_training=training)
    other.load(module.collapse())
    for name, tensor in other.collapse().tensors.items():
        assert torch.equal(tensor, module.collapse().tensors[name])


@pytest.mark.parametrize("method", ["prefix", "embedding", "prefix+lora"])
@pytest.mark.parametrize("mlp_hidden", [0, 5])
def test_a_trained_delta_with_bos_in_slot_0_is_loaded_again(bos_base: Base, method: Any, mlp_hidden: int) -> None:
    values = {"method": method, "mlp_hidden": mlp_hidden, "first_slot": "bos"}
    module = make_trainable(bos_base, **values)
    logits_of(bos_base, module.make_delta()).logsumexp(-1).square().mean().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    trained = module.collapse()
    read = make_delta_from_tensors(method, trained.tensors, TrainConfig(lora_rank=3, prefix_length=3, **values))
    assert (read.length, read.frozen_length, read.parameter_count) == (3, 1, module.make_delta().parameter_count)
    other = make_trainable(bos_base, **values)
    other.load(read)
    for name, tensor in other.collapse().tensors.items():
        torch.testing.assert_close(tensor, trained.tensors[name], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("training", ["frozen", "joint"])
def test_with_a_shared_prefix_slot_0_is_its_own_and_stays(bos_base: Base, training: Any) -> None:
    shared = make_trainable(bos_base, first_slot="bos").collapse().prefix
    values = {"first_slot": "bos", "shared_training": training}
    module = make_trainable(bos_base, shared, **values)
    first = {name: tensor.clone() for name, tensor in module.collapse().tensors.items()}
    logits_of(bos_base, module.make_delta()).logsumexp(-1).square().mean().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    trained, frozen = module.collapse(), 3 if training == "frozen" else 1
    assert shared is not None
    for name, tensor in trained.tensors.items():
        assert torch.equal(tensor[:, :frozen], shared.tensors[name][:, :frozen])
        assert not torch.equal(tensor[:, frozen:], first[name][:, frozen:])
    config = TrainConfig(prefix_length=3, shared="alder", **values)
    read = make_delta_from_tensors("prefix", trained.tensors, config)
    assert (read.length, read.frozen_length, read.parameter_count) == (6, frozen, trained.parameter_count)


def test_an_init_text_fills_up_to_all_slots_that_are_trained(base: Base, bos_base: Base) -> None:
    for text in ("a", "abc"):
        make_trainable(base, text=text, init_text=text)
    with pytest.raises(
        ConfigError, match=r"at most 3 tokens, one for each slot; got 5 tokens \('abcde'\);.*by 2 or more"
    ):
        make_trainable(base, text="abcde", init_text="abcde")
    make_trainable(base, text="abcde", init_text="abcde", initialization="random")
    make_trainable(base, text="abcde", init_text="abcde", method="lora")
    make_trainable(bos_base, text="ab", init_text="ab", first_slot="bos")
    with pytest.raises(ConfigError, match="at most 2 tokens, one for each slot; got 3 tokens"):
        make_trainable(bos_base, text="abc", init_text="abc", first_slot="bos")
    make_trainable(base, text="words that are longer than the slots")


@pytest.mark.parametrize("method", ["infix", "embedding", "lora", "full", "in-context"])
def test_methods_without_a_prefix_are_refused_with_shared_slots(base: Base, method: Any) -> None:
    with pytest.raises(ConfigError, match=rf"train\.shared; got {method}"):
        make_trainable(base, make_text_prefix(base, "shared", 4), method=method)


def test_slots_that_fill_the_context_are_refused(base: Base) -> None:
    config = TrainConfig(prefix_length=60)
    assert count_slots(config, make_text_prefix(base, "shared", 4)) == 64
    assert count_slots(TrainConfig(method="lora", prefix_length=60)) == 0
    with pytest.raises(ConfigError, match="64 of 64 positions"):
        make_trainable(base, make_text_prefix(base, "shared", 4), prefix_length=60)


def test_loading_a_delta_of_another_method_or_size_is_refused(base: Base) -> None:
    with pytest.raises(BaseModelError, match="a delta with slots; got weights"):
        make_trainable(base).load(make_trainable(base, method="lora").collapse())
    with pytest.raises(BaseModelError, match="a delta with slots, weights; got slots"):
        make_trainable(base, method="prefix+lora").load(make_trainable(base).collapse())
    with pytest.raises(BaseModelError, match=r"length 3 in .*; got 4"):
        make_trainable(base).load(make_trainable(base, prefix_length=4).collapse())
    with pytest.raises(BaseModelError):
        make_trainable(base, method="lora").load(make_trainable(base, method="adapter").collapse())
    with pytest.raises(BaseModelError):
        make_trainable(base, method="lora").load(make_trainable(base, method="lora", lora_rank=2).collapse())


@pytest.mark.parametrize("method", ["prefix", "infix", "embedding"])
@pytest.mark.parametrize("mlp_hidden", [0, 5])
def test_a_delta_without_slots_is_the_base(base: Base, mlp_hidden: int, method: Any) -> None:
    if base.is_encoder_decoder and method != "prefix":
        return
    module = make_trainable(base, method=method, prefix_length=0, mlp_hidden=mlp_hidden)
    assert not module.is_trainable
    for delta in (module.make_delta(), module.collapse()):
        assert (delta.length, delta.parameter_count) == (0, 0)
        assert torch.equal(logits_of(base, delta), logits_of(base, None))
    sources, decoding = [[5, 9, 0], [7, 8, 11, 0]], Decoding(max_new_tokens=6)
    outputs = generate_each(base, [module.collapse()] * 2, sources, decoding, 2)
    assert outputs == generate_each(base, [None] * 2, sources, decoding, 2)


def test_weights_are_trainable_without_slots(base: Base) -> None:
    assert make_trainable(base, method="prefix+lora", prefix_length=0).is_trainable
    assert make_trainable(base, method="full").is_trainable
    assert not make_trainable(base, method="in-context").is_trainable


@pytest.mark.parametrize(("training", "slots"), [("frozen", 3), ("joint", 7)])
def test_frozen_shared_slots_do_not_count_as_trained(base: Base, training: Any, slots: int) -> None:
    one = make_trainable(base, prefix_length=1).collapse().parameter_count
    module = make_trainable(base, make_text_prefix(base, "shared", 4), shared_training=training)
    assert module.collapse().parameter_count == module.make_delta().parameter_count == slots * one
    config = TrainConfig(prefix_length=3, shared="alder", shared_training=training)
    read = make_delta_from_tensors("prefix", module.collapse().tensors, config)
    assert (read.parameter_count, read.length) == (slots * one, 7)
    if training == "frozen":
        assert not make_trainable(base, make_text_prefix(base, "shared", 4), prefix_length=0).is_trainable
        with pytest.raises(ArtifactError, match=r"at least train\.prefix_length = 8 slots"):
            make_delta_from_tensors("prefix", module.collapse().tensors, config.model_copy(update={"prefix_length": 8}))
