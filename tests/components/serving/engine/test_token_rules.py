"""The request's own rules are OpenAI's formulas, and hold in a batch beside rows without rules."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import ConfigError
from components.model.decoding.controls import DecodingControls, LogitsController
from components.serving.engine.token_rules import TokenRules
from components.serving.interface import GenerationRequest, TokenControls

PENALTY = st.sampled_from([0.0, -1.5, 0.5, 2.0])


@settings(deadline=None, max_examples=30)
@given(
    presence=PENALTY,
    frequency=PENALTY,
    bias=st.dictionaries(st.integers(0, 9), st.floats(-100, 100), max_size=4),
    history=st.lists(st.integers(0, 9), max_size=8),
)
def test_penalties_and_bias_are_openais(presence: float, frequency: float, bias: Any, history: list[int]) -> None:
    controls = TokenControls(
        presence_penalty=presence, frequency_penalty=frequency, logit_bias=tuple(bias.items()), no_repeat_ngram=1
    )
    controller = LogitsController(DecodingControls(no_repeat_ngram=1), None, 0, 10)
    logits_V = torch.linspace(-3, 4, 10)
    given_V = TokenRules(controls, controller, torch.device("cpu")).apply(logits_V, history)
    for token, before in enumerate(logits_V.tolist()):
        count = history.count(token)
        wanted = before + bias.get(token, 0) - frequency * count - presence * (count > 0)
        assert given_V[token] == (pytest.approx(wanted, abs=1e-4) if not count else -torch.inf)


def test_rules_change_their_own_row_only(tenants: Any, answer_all: Any, sources: Any) -> None:
    plain = [
        GenerationRequest(artifact, source, max_tokens=8)
        for artifact, source in zip(tenants.artifacts, sources, strict=True)
    ]
    letter = tenants.base.tokenizer.convert_tokens_to_ids("q")
    biased = [replace(one, controls=TokenControls(logit_bias=((letter, 100.0),))) for one in plain]
    beams = [replace(one, num_beams=2) for one in biased]
    answers = answer_all(tenants, [*plain, *biased, *beams], rows=20)
    assert answers[:5] == [tenants.answer_alone(request) for request in plain]
    assert answers[5:] == [("q" * 8, "length")] * 10


def test_a_token_that_the_base_does_not_have_and_too_many_beams_are_refused(
    tenants: Any, answer_all: Any, sources: Any
) -> None:
    good = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=3)
    bad = [replace(good, controls=TokenControls(logit_bias=((67, 1.0),))), replace(good, num_beams=5)]
    first, second, third = answer_all(tenants, [*bad, good], rows=4)
    assert isinstance(first, ConfigError)
    assert "logit_bias: token ids from 0 to 66; got 67" in str(first)
    assert isinstance(second, ConfigError)
    assert "serve.rows" in str(second)
    assert third == tenants.answer_alone(good)
