"""Slot 0 of BOS: it has the base's keys and values, stays as it is, and is refused where it makes no sense."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from architectures import DECODERS, EOS, RECENT
from plain_paths import turn_off
from tiny_models import make_letters
from tokenizer_kinds import make_tokenizer

from components.config import TrainConfig
from components.data.pairs import TokenizedPair
from components.errors import ConfigError
from components.model.base.load import Base
from components.model.delta import apply_deltas
from components.model.prefix.first_slot import find_bos_slot_id, has_bos_slot
from components.model.prefix.initialization import make_token_prefix
from components.model.trainable_delta import TrainableDelta
from components.training.objective import StepDeltas, TrainingExample

ROWS = [
    TrainingExample(0, TokenizedPair((5, 6, 7, 8, 9, 10, 11, 0), (12, 13, 0))),
    TrainingExample(0, TokenizedPair((14, 0), (15, 16, 17, 18, 19, 20, 0))),
]
CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def build_bos_base(build_base: Callable[..., Base]) -> Callable[[str], Base]:
    """A function of an architecture to a base whose tokenizer has BOS, and does not write it."""
    letters = make_letters()
    letters.bos_token = letters.eos_token
    return lambda kind: replace(build_base(kind), tokenizer=letters)


def make_module(base: Base, **values: Any) -> TrainableDelta:
    small = {"prefix_length": 4, "first_slot": "bos", "lora_rank": 2, "adapter_size": 2}
    return TrainableDelta(base, TrainConfig(**{**small, **values}), "abc", None, (("ab", "c"),))


@torch.no_grad()
def compute_logits(base: Base, ids: list[int], delta: Any = None) -> torch.Tensor:
    with apply_deltas(base, [delta]):
        logits: torch.Tensor = base.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize("mlp_hidden", [0, 8])
@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, method) for kind in (*DECODERS, "deepseek_v3") for method in ("prefix", "embedding")]
    + [("llama", "prefix+adapter"), ("gpt2", "prefix+lora")],
)
def test_before_training_a_prefix_is_bos_and_the_words(
    build_bos_base: Callable[[str], Base], kind: str, method: Any, mlp_hidden: int
) -> None:
    base = build_bos_base(kind)
    delta, words, source = make_module(base, method=method, mlp_hidden=mlp_hidden).collapse(), [2, 3, 4], [9, 8, 0]
    wanted = compute_logits(base, [EOS, *words, *source])[1 + len(words) :]
    torch.testing.assert_close(compute_logits(base, source, delta), wanted, rtol=0.0, atol=1e-3 if mlp_hidden else 1e-5)


@pytest.mark.parametrize("initialization", ["random", "zero", "text"])
@pytest.mark.parametrize("method", ["prefix", "embedding"])
def test_every_initialization_leaves_slot_0_to_bos(
    build_bos_base: Callable[[str], Base], method: Any, initialization: Any
) -> None:
    base = build_bos_base("llama")
    delta = make_module(base, method=method, initialization=initialization).collapse()
    prefix = delta.compute_prefix(base)
    assert prefix is not None
    assert (delta.length, prefix.length) == (4, 4)
    assert has_bos_slot(base, prefix, EOS)
    other = make_module(base, method=method, initialization=initialization, first_slot="free").collapse()
    free = other.compute_prefix(base)
    assert free is not None
    assert not has_bos_slot(base, free, EOS)
    assert 4 * delta.parameter_count == 3 * other.parameter_count


@pytest.mark.parametrize("kind", [*DECODERS, *RECENT])
def test_a_step_on_packed_or_padded_rows_changes_all_slots_but_slot_0(
    build_bos_base: Callable[[str], Base], kind: str
) -> None:
    base = build_bos_base(kind)
    bos, ends = make_token_prefix(base, [EOS]).tensors, []
    for off in ((), ("packing",)):
        module = make_module(base)
        before = module.collapse().tensors
        with turn_off(*off):
            deltas = StepDeltas(base, [module.make_delta()])
            deltas.backward(ROWS)
            deltas.propagate_gradients()
        torch.optim.SGD(module.parameters(), lr=1.0).step()
        ends.append(module.collapse().tensors)
        for name, tensor_HPD in ends[-1].items():
            assert torch.equal(tensor_HPD[:, :1], bos[name])
            assert not torch.equal(tensor_HPD[:, 1:], before[name][:, 1:])
    for name, tensor_HPD in ends[0].items():
        torch.testing.assert_close(tensor_HPD, ends[1][name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "lora"}, r"slots come before the text.*; got lora; set train\.first_slot: free"),
        ({"method": "full"}, "got full"),
        ({"method": "in-context"}, "got in-context"),
        ({"method": "infix"}, "got infix"),
        ({"prefix_length": 0}, r"a slot for BOS.*; got train\.prefix_length 0"),
    ],
)
def test_methods_without_a_slot_before_the_text_are_refused(
    build_bos_base: Callable[[str], Base], values: dict[str, Any], message: str
) -> None:
    base = build_bos_base("gpt2")
    with pytest.raises(ConfigError, match=message):
        make_module(base, **values)
    make_module(base, **{**values, "first_slot": "free"})


def test_bases_without_bos_or_with_a_start_token_of_their_own_are_refused(
    build_base: Callable[..., Base], build_bos_base: Callable[[str], Base]
) -> None:
    with pytest.raises(ConfigError, match=r"a tokenizer with BOS.*; got none in that of tiny; set train\.first_sl"):
        make_module(build_base("gpt2"))
    with pytest.raises(ConfigError, match="BartForConditionalGeneration, whose encoder and decoder begin with their"):
        make_module(build_bos_base("bart"))


@pytest.mark.parametrize(("kind", "wanted"), [("llama3", "<s>"), ("gpt2", "<s>"), ("opt", "</s>"), ("two-leads", None)])
def test_bos_is_what_the_tokenizer_puts_first_or_else_its_bos(
    build_model: Callable[..., Any], base_of: Callable[..., Base], kind: str, wanted: str | None
) -> None:
    tokenizer = make_tokenizer(kind)
    base = replace(base_of(build_model("gpt2", vocab_size=len(tokenizer))), tokenizer=tokenizer)
    first = tokenizer("the cat")["input_ids"][0]
    found = find_bos_slot_id(base, TrainConfig(first_slot="bos"))
    assert found == (first if wanted is None else tokenizer.convert_tokens_to_ids(wanted))
    assert find_bos_slot_id(base, TrainConfig()) is None


def test_a_slot_that_was_stored_in_16_bits_is_still_that_of_bos(build_bos_base: Callable[[str], Base]) -> None:
    base = build_bos_base("llama")
    prefix = make_module(base).collapse().prefix
    assert prefix is not None
    assert has_bos_slot(base, prefix.to(torch.bfloat16), EOS)
    assert not has_bos_slot(base, prefix.drop_slots(1), EOS)
    assert not has_bos_slot(base, prefix.keep_slots(0), EOS)


def test_initial_states_are_trained_beside_a_slot_of_bos(build_bos_base: Callable[[str], Base]) -> None:
    base = build_bos_base("qwen3_5_text")
    trained = make_module(base, initial_state=True)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    delta = trained.collapse()
    assert delta.prefix is not None
    assert delta.prefix.states
    assert has_bos_slot(base, delta.prefix, EOS)
    other = make_module(base, initial_state=True)
    other.load(delta)
    assert all(torch.equal(tensor, delta.tensors[name]) for name, tensor in other.collapse().tensors.items())
    assert trained.make_delta().parameter_count == sum(parameter.numel() for parameter in trained.parameters())
