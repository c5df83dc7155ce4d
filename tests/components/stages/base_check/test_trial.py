"""A trial trains at least one step, lowers the loss and generates, on bases of every kind."""

import pytest
from tiny_models import build_model, make_base, make_letters

from components.stages.base_check.trial import make_random_examples, try_base


@pytest.mark.parametrize("kind", ["gpt2", "gpt_oss", "t5", "qwen3_next"])
def test_a_trial_lowers_the_loss(kind: str) -> None:
    base = make_base(build_model(kind), make_letters())
    tried = try_base(base, 8, seconds=3)
    assert tried.steps >= 1
    assert tried.loss_after < tried.loss_before
    assert (tried.rows, tried.generated_tokens) == (4, 64)
    assert tried.training_tokens_per_s > 0
    assert tried.generated_tokens_per_s > 0
    assert tried.generated_text


def test_a_trial_without_seconds_is_one_step_and_fits_a_short_context() -> None:
    tried = try_base(make_base(build_model("gpt2"), make_letters(), 24), 0, seconds=0)
    assert (tried.steps, tried.generated_tokens) == (1, 4 * 9)


def test_random_texts_are_the_same_at_every_call_and_hold_no_special_token() -> None:
    base = make_base(build_model("gpt2"), make_letters())
    examples = make_random_examples(base, 12, 5)
    assert examples == make_random_examples(base, 12, 5)
    assert len({example.source for example in examples}) == 4
    assert not any("<" in text for example in examples for text in (example.source, *example.references))
