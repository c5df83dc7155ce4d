import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.serving.http.openai import CompletionRequest, to_logprobs
from components.serving.interface import Token

NEUTRAL = {"best_of": 1, "suffix": "", "echo": False, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0}
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


@given(texts=st.lists(st.text(max_size=4), max_size=6), split=st.integers(0, 6), wanted=st.integers(0, 5))
def test_offsets_of_the_pieces_are_those_of_the_whole_answer(texts, split, wanted):
    tokens = [Token(text, -1.0, ((text, -1.0),)) for text in texts]
    whole = to_logprobs(tokens, wanted, 0)
    first, rest = tokens[:split], tokens[split:]
    pieces = to_logprobs(first, wanted, 0), to_logprobs(rest, wanted, sum(len(token.text) for token in first))
    assert [*pieces[0].text_offset, *pieces[1].text_offset] == whole.text_offset
    assert (whole.top_logprobs is None) is (wanted == 0)
    assert to_logprobs(tokens, None, 0) is None
