"""Properties of the protocol's data: whatever comes is accepted whole or refused by name."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.config import Params
from components.errors import DataError
from components.registry.mlflow.versions import Version
from components.serving.errors import RefusalError, make_error_body
from components.serving.http.openai import CompletionRequest, to_logprobs
from components.serving.http.prompts import to_requests
from components.serving.http.validation import make_body_error
from components.serving.interface import Token

VERSION = Version("alder", "1", sha256="0" * 64)
PARAMS = Params.model_validate({"base": {"path": "base"}})
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def parsed(body):
    return CompletionRequest.model_validate(body)


@given(
    prompts=st.lists(TEXT, min_size=1, max_size=4),
    n=st.integers(1, 8),
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(-(2**63), 2**63 - 1),
    stop=st.lists(st.text(min_size=1, max_size=5), max_size=3),
    guidance=st.floats(0, 10),
    max_tokens=st.integers(1, 1024),
)
def test_rows_are_prompts_times_draws_each_as_it_was_asked(prompts, n, stop, **asked):
    body = parsed({"model": "alder", "prompt": prompts, "n": n, "stop": stop, **asked})
    rows = to_requests(body, VERSION, PARAMS)
    assert [(row.source, row.sample_index) for row in rows] == [
        (prompt, draw) for prompt in prompts for draw in range(n)
    ]
    for row in rows:
        assert row.artifact.sha256 == VERSION.sha256
        assert row.stop == tuple(stop)
        assert {name: getattr(row, name) for name in asked} == asked


@given(body=st.dictionaries(st.sampled_from([*CompletionRequest.model_fields, "x"]), JSON) | JSON)
def test_any_json_is_accepted_or_refused_in_three_beats(body):
    try:
        accepted = parsed(body)
    except ValidationError as problems:
        refusal = make_body_error(problems.errors(), CompletionRequest, body)
        assert refusal.status == 400
        told = make_error_body(refusal)["error"]
        json.dumps(told, ensure_ascii=False).encode()
        assert told["message"].startswith("wanted ")
        return
    assert set(body) <= set(CompletionRequest.model_fields)
    with suppress(RefusalError, DataError):  # 400 both
        assert to_requests(accepted, VERSION, PARAMS)


@given(
    name=st.sampled_from(["best_of", "suffix", "echo", "logit_bias", "presence_penalty", "frequency_penalty"]),
    value=JSON,
)
def test_what_would_change_the_output_and_is_not_done_is_never_ignored(name, value):
    neutral = {
        "best_of": 1,
        "suffix": "",
        "echo": False,
        "logit_bias": {},
        "presence_penalty": 0,
        "frequency_penalty": 0,
    }
    body = {"model": "alder", "prompt": "x", name: value}
    if value is None or value == neutral[name]:
        return
    with pytest.raises(ValidationError):
        parsed(body)


@given(texts=st.lists(st.text(max_size=4), max_size=6), split=st.integers(0, 6), wanted=st.integers(0, 5))
def test_offsets_of_pieces_are_those_of_the_whole(texts, split, wanted):
    tokens = [Token(text, -1.0, ((text, -1.0),)) for text in texts]
    whole = to_logprobs(tokens, wanted, 0)
    first, rest = tokens[:split], tokens[split:]
    parts = to_logprobs(first, wanted, 0), to_logprobs(rest, wanted, sum(len(token.text) for token in first))
    assert [*parts[0].text_offset, *parts[1].text_offset] == whole.text_offset
    assert (whole.top_logprobs is None) is (wanted == 0)
    assert to_logprobs(tokens, None, 0) is None
