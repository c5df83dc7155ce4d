import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.serving.http.openai import CompletionRequest, FeedbackRequest, to_logprobs
from components.serving.interface import Token

NEUTRAL = {"best_of": 1, "suffix": "", "echo": False}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(name=st.sampled_from(list(NEUTRAL)), value=JSON)
def test_an_unsupported_field_that_would_change_the_output_is_never_ignored(name, value):
    if value is None or value == NEUTRAL[name]:
        return
    with pytest.raises(ValidationError):
        CompletionRequest.model_validate({"model": "alder", "prompt": "x", name: value})


def test_of_two_tokens_with_the_same_text_the_likelier_is_kept():
    tokens = [Token("a", -1.0, (("a", -1.0), ("b", -2.0), ("a", -3.0)), 0), Token("b", None, (), 1)]
    made = to_logprobs(tokens, 3)
    assert made.top_logprobs == [{"a": -1.0, "b": -2.0}, {}]
    assert (made.tokens, made.token_logprobs, made.text_offset) == (["a", "b"], [-1.0, None], [0, 1])
    assert to_logprobs(tokens, 0).top_logprobs is None
    assert to_logprobs(tokens, None) is None


def test_the_schema_says_which_fields_are_required_by_choice():
    def read_choice(model):
        return [one["required"] for one in model.model_json_schema()["anyOf"]]

    assert read_choice(CompletionRequest) == [["prompt"], ["input"]]
    assert read_choice(FeedbackRequest) == [["rating"], ["text"]]
