"""Controls on logits, against transformers' processors and against probabilities."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as official

from components.errors import ConfigError
from components.model.decoding.controls import (
    DecodingControls,
    LogitsController,
    RowGenerators,
    keep_top_k,
    keep_top_p,
    mix_logits,
)

EOS, VOCABULARY = 0, 23
# A tokenizer is needed for banned texts only.
NO_TOKENIZER = SimpleNamespace()


def controller(**values: Any) -> LogitsController:
    return LogitsController(DecodingControls(**values), NO_TOKENIZER, EOS, VOCABULARY)


@st.composite
def steps(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Logits, a history with unused slots after it, and its length; few different tokens, so that sequences repeat."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rows, length, unused = draw(st.integers(1, 5)), draw(st.integers(0, 14)), draw(st.integers(0, 3))
    logits_RV = torch.randn(rows, VOCABULARY, generator=generator) * draw(st.sampled_from([0.1, 3.0, 30.0]))
    high = draw(st.integers(2, VOCABULARY))
    history_RN = torch.randint(1, high, (rows, length + unused), generator=generator)
    return logits_RV, history_RN, length


@settings(max_examples=80, deadline=None)
@given(steps(), st.sampled_from([0.5, 1.2, 3.0]))
def test_repetition_penalty_equals_that_of_transformers(step: tuple[Tensor, Tensor, int], penalty: float) -> None:
    logits_RV, history_RN, length = step
    shaped_RV = controller(repetition_penalty=penalty).process_logits(logits_RV, history_RN, length)
    prompt_RT = torch.full((len(history_RN), 3), 2)
    everything_RT = torch.cat([prompt_RT, history_RN[:, :length]], dim=1)
    processor = official.RepetitionPenaltyLogitsProcessor(penalty, prompt_ignore_length=3)
    assert torch.equal(shaped_RV, processor(everything_RT, logits_RV.clone()))


@settings(max_examples=120, deadline=None)
@given(steps(), st.integers(1, 5))
def test_no_repeat_ngram_equals_that_of_transformers(step: tuple[Tensor, Tensor, int], size: int) -> None:
    logits_RV, history_RN, length = step
    shaped_RV = controller(no_repeat_ngram=size).process_logits(logits_RV, history_RN, length)
    processor = official.NoRepeatNGramLogitsProcessor(size)
    assert torch.equal(shaped_RV, processor(history_RN[:, :length], logits_RV.clone()))


@settings(max_examples=60, deadline=None)
@given(steps(), st.integers(0, 16))
def test_min_new_tokens_equals_that_of_transformers(step: tuple[Tensor, Tensor, int], least: int) -> None:
    logits_RV, history_RN, length = step
    shaped_RV = controller(min_new_tokens=least).process_logits(logits_RV, history_RN, length)
    processor = official.MinNewTokensLengthLogitsProcessor(0, least, EOS)
    assert torch.equal(shaped_RV, processor(history_RN[:, :length], logits_RV.clone()))


@settings(max_examples=80, deadline=None)
@given(steps(), st.integers(1, VOCABULARY + 5), st.floats(0.01, 0.99), st.integers(0, 5))
def test_top_k_and_top_p_equal_those_of_transformers(
    step: tuple[Tensor, Tensor, int], count: int, probability: float, impossible: int
) -> None:
    logits_RV, history_RN, _ = step
    logits_RV[:, 1 : 1 + impossible] = -math.inf
    assert torch.equal(keep_top_k(logits_RV, count), official.TopKLogitsWarper(count)(history_RN, logits_RV))
    assert torch.equal(
        keep_top_p(logits_RV, probability), official.TopPLogitsWarper(probability)(history_RN, logits_RV)
    )


@settings(max_examples=60, deadline=None)
@given(steps(), st.sampled_from([1.0, 1.3]), st.integers(0, 3), st.integers(0, 9))
def test_all_controls_together_equal_those_of_transformers(
    step: tuple[Tensor, Tensor, int], penalty: float, size: int, least: int
) -> None:
    logits_RV, history_RN, length = step
    history_RL, before_RV = history_RN[:, :length], logits_RV.clone()
    processors = official.LogitsProcessorList()
    if penalty != 1:
        processors.append(official.RepetitionPenaltyLogitsProcessor(penalty))
    if size:
        processors.append(official.NoRepeatNGramLogitsProcessor(size))
    processors.append(official.MinNewTokensLengthLogitsProcessor(0, least, EOS))
    ours = controller(repetition_penalty=penalty, no_repeat_ngram=size, min_new_tokens=least)
    assert torch.equal(ours.process_logits(logits_RV, history_RN, length), processors(history_RL, logits_RV.clone()))
    assert torch.equal(logits_RV, before_RV)


def test_without_controls_the_same_object_is_returned() -> None:
    logits_RV, history_RN = torch.randn(2, VOCABULARY), torch.zeros(2, 5, dtype=torch.long)
    assert controller().process_logits(logits_RV, history_RN, 3) is logits_RV
    assert controller(min_new_tokens=3).process_logits(logits_RV, history_RN, 3) is logits_RV
    assert controller(temperature=1.0, top_k=3, top_p=0.5).process_logits(logits_RV, history_RN, 3) is logits_RV


def test_end_of_text_is_possible_if_no_other_token_is() -> None:
    logits_RV = torch.randn(2, VOCABULARY)
    history_RN = torch.stack([torch.arange(1, VOCABULARY), torch.ones(VOCABULARY - 1, dtype=torch.long)])
    ours = controller(no_repeat_ngram=1, min_new_tokens=99)
    shaped_RV = ours.process_logits(logits_RV, history_RN, VOCABULARY - 1)
    assert shaped_RV[0].softmax(0).tolist() == [1.0] + [0.0] * (VOCABULARY - 1)
    assert shaped_RV[1].isneginf().nonzero()[:, 0].tolist() == [EOS, 1]
    assert shaped_RV.log_softmax(dim=-1).isnan().sum() == 0


def test_without_a_temperature_the_likeliest_is_chosen() -> None:
    logits_RV = torch.randn(4, VOCABULARY)
    assert torch.equal(controller().choose_tokens(logits_RV), logits_RV.argmax(dim=1))
    with pytest.raises(TypeError, match="wanted generators with a temperature"):
        controller(temperature=1.0).choose_tokens(logits_RV)


@pytest.mark.parametrize("values", [{}, {"top_k": 3}, {"top_p": 0.7}, {"top_k": 4, "top_p": 0.8}])
def test_samples_follow_the_softmax(values: dict[str, Any]) -> None:
    temperature, rows = 0.7, 6000
    logits_V = torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0, -math.inf])
    warped_1V = logits_V[None] / temperature
    if "top_k" in values:
        warped_1V = official.TopKLogitsWarper(values["top_k"])(None, warped_1V)
    if "top_p" in values:
        warped_1V = official.TopPLogitsWarper(values["top_p"])(None, warped_1V)
    expected_V = warped_1V[0].softmax(0)
    draws = RowGenerators(3, [(row, 0) for row in range(rows)])
    token_R = controller(temperature=temperature, **values).choose_tokens(logits_V.expand(rows, -1), draws)
    share_V = token_R.bincount(minlength=6) / rows
    # Five standard errors of a share.
    bound_V = 5 * (expected_V * (1 - expected_V) / rows).sqrt() + 1e-9
    assert ((share_V - expected_V).abs() <= bound_V).all()


def test_a_tiny_temperature_takes_the_likeliest() -> None:
    logits_RV = torch.randn(5, VOCABULARY, generator=torch.Generator().manual_seed(0)) * 100
    draws = RowGenerators(0, [(row, 0) for row in range(5)])
    chosen_R = controller(temperature=1e-30).choose_tokens(logits_RV, draws)
    assert torch.equal(chosen_R, logits_RV.argmax(dim=1))


def test_a_row_has_the_same_samples_whatever_the_other_rows() -> None:
    together = RowGenerators(7, [(0, 0), (1, 0), (1, 1), (2, 0)])
    first_RV = together.draw_gumbel(9)
    together.keep(torch.tensor([1, 3]))
    second_RV = together.draw_gumbel(9)
    alone = RowGenerators(7, [(1, 0)])
    assert torch.equal(alone.draw_gumbel(9)[0], first_RV[1])
    assert torch.equal(alone.draw_gumbel(9)[0], second_RV[0])
    assert len({tuple(row) for row in first_RV.tolist()}) == 4
    assert not torch.equal(RowGenerators(8, [(1, 0)]).draw_gumbel(9)[0], first_RV[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 1e4]))
def test_guidance_0_and_1_return_the_inputs_exactly(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    with_RV = torch.randn(3, VOCABULARY, generator=generator) * scale
    base_RV = torch.randn(3, VOCABULARY, generator=generator)
    mixed_RV = mix_logits(with_RV, base_RV, torch.tensor([[0.0], [1.0], [0.5]]))
    assert torch.equal(mixed_RV[0], base_RV[0])
    assert torch.equal(mixed_RV[1], with_RV[1])
    assert torch.allclose(mixed_RV[2], (with_RV[2] + base_RV[2]) / 2, atol=1e-6 * max(scale, 1.0))


@pytest.mark.parametrize("scale", [0.3, 1.5, 3.0])
def test_guidance_equals_that_of_transformers(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    with_RV = torch.randn(3, VOCABULARY, generator=generator)
    base_RV = torch.randn(3, VOCABULARY, generator=generator)

    def model(ids: Tensor, **_: Any) -> Any:
        return type("Output", (dict,), {"logits": base_RV[:, None]})()

    processor = official.UnbatchedClassifierFreeGuidanceLogitsProcessor(scale, model)
    expected_RV = processor(torch.zeros(3, 1, dtype=torch.long), with_RV).softmax(dim=-1)
    mixed_RV = mix_logits(with_RV, base_RV, torch.full((3, 1), scale))
    assert torch.allclose(mixed_RV.softmax(dim=-1), expected_RV, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"min_new_tokens": -1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"no_repeat_ngram": -2},
        {"banned": ("",)},
        {"banned": ("a\ufffd",)},
        {"banned": ("\ud800",)},
        {"temperature": -0.1},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        DecodingControls(**values)


def test_rows_that_join_have_the_samples_that_they_have_alone() -> None:
    rows, joining = RowGenerators(7, [(0, 0), (1, 0)]), RowGenerators(7, [(2, 0)])
    first = rows.draw_gumbel(9)
    rows.join(joining)
    rows.keep(torch.tensor([2, 1]))
    both = rows.draw_gumbel(9)
    alone = RowGenerators(7, [(1, 0)])
    assert torch.equal(alone.draw_gumbel(9)[0], first[1])
    assert torch.equal(alone.draw_gumbel(9)[0], both[1])
    assert torch.equal(RowGenerators(7, [(2, 0)]).draw_gumbel(9)[0], both[0])


@pytest.mark.parametrize(
    ("values", "inactive"),
    [
        ({}, True),
        ({"temperature": 0.7, "top_k": 2, "top_p": 0.5}, True),
        ({"min_new_tokens": 1}, False),
        ({"repetition_penalty": 0.9}, False),
        ({"no_repeat_ngram": 2}, False),
    ],
)
def test_inactive_controls_return_the_logits_unchanged(values: dict[str, Any], inactive: bool) -> None:
    one = controller(**values)
    logits_RV, history_RN = torch.randn(2, VOCABULARY), torch.ones(2, 4, dtype=torch.long)
    assert one.is_inactive is inactive
    assert (one.process_logits(logits_RV, history_RN, 4) is logits_RV) or not inactive
