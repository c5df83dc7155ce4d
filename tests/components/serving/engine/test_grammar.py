"""Answers under random schemas of a random model parse and validate, and change nothing for the rows beside them."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tiny_models import build_model, give_own_head, make_base
from tokenizer_kinds import make_tokenizer

from components.errors import ConfigError, DataError, PrefixFleetError
from components.serving.interface import GenerationRequest, TokenControls

CONTEXT = 320
SMALL = st.integers(0, 3)
LEAVES = st.one_of(
    st.builds(lambda n: {"type": "string", "maxLength": n}, SMALL),
    st.builds(lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, st.integers(-9, 9), SMALL),
    st.builds(lambda given: {"enum": given}, st.lists(st.sampled_from(["a", "é\n", 3, True, None]), min_size=1)),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": {"a": [1]}}]),
    st.just({"type": "string", "pattern": "^a{1,3}b?$"}),
)


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def make_object(properties: Any, required: Any) -> Any:
        needed = [name for name in properties if name in required]
        return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}

    names = st.sampled_from(["a", "b c", 'say "x"', "é"])
    return st.one_of(
        st.builds(make_object, st.dictionaries(names, inner, max_size=3), st.sets(names)),
        st.builds(lambda items, n: {"type": "array", "items": items, "maxItems": n}, inner, SMALL),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
    )


SCHEMAS = st.recursive(LEAVES, nest, max_leaves=5)


@pytest.fixture(scope="module")
def worded_base() -> Any:
    return build_worded("gpt2")


def build_worded(kind: str) -> Any:
    tokenizer = make_tokenizer(kind)
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    model = build_model("gpt2", vocab_size=len(tokenizer) + 3, n_positions=CONTEXT, **ends)
    return make_base(give_own_head(model), tokenizer, context=CONTEXT)


@settings(
    max_examples=3, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck)
)
@given(schemas=st.lists(SCHEMAS, min_size=6, max_size=6))
@pytest.mark.parametrize("kind", ["gpt2", "sentencepiece-bpe"])
def test_answers_parse_and_validate_and_their_neighbours_are_unchanged(
    schemas: Any, kind: str, make_tenants_once: Any, running: Any, collect_pieces: Any, join_pieces: Any
) -> None:
    tenants = make_tenants_once(kind)
    plain = [GenerationRequest(artifact, "the cat", max_tokens=12) for artifact in tenants.artifacts]
    bound = [
        replace(
            plain[number % 5],
            max_tokens=260,
            temperature=0.8 * (number % 2),
            seed=number,
            controls=TokenControls(json_schema=json.dumps(schema), repetition_penalty=1.3),
        )
        for number, schema in enumerate(schemas)
    ]

    async def serve() -> Any:
        async with running(tenants, rows=12) as engine:
            alone = await asyncio.gather(*(collect_pieces(engine, one) for one in plain))
            return alone, await asyncio.gather(*(collect_pieces(engine, one) for one in [*plain, *bound]))

    alone, answers = asyncio.run(serve())
    assert list(map(join_pieces, answers[:5])) == list(map(join_pieces, alone))
    assert sum(one[-1].finish == "stop" for one in answers[5:]) >= 3, "or the test shows little"
    for schema, pieces in zip(schemas, answers[5:], strict=True):
        text, finish = join_pieces(pieces)
        if finish == "stop":
            jsonschema.validate(json.loads(text), schema)
        else:
            assert sum(len(piece.tokens) for piece in pieces) == 260


@pytest.fixture
def make_tenants_once(make_tenants: Any) -> Any:
    made: list[Any] = []

    def make(kind: str) -> Any:
        if not made:
            made.append(make_tenants(build_worded(kind)))
        return made[0]

    return make


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"json_schema": '{"type": "strin"}'}, ConfigError, "valid and supported; got Invalid type: strin"),
        ({"json_schema": '{"not": {}}'}, ConfigError, "Unimplemented keys"),
        ({"json_schema": '{"type": "string", "pattern": "("}'}, ConfigError, "unclosed group"),
        ({"json_schema": '{"exclusiveMinimum": 0, "maximum": 0.5}'}, ConfigError, "got exclusiveMinimum 0 with"),
        ({"json_schema": json.dumps({"enum": ["x" * 50_000]})}, ConfigError, "at most 50000 characters"),
        ({"json_schema": '{"const": "cat"}', "banned": ("cat",)}, DataError, "excludes all of them"),
    ],
)
def test_what_cannot_be_written_is_an_error_of_its_row(
    changes: Any, error: type[PrefixFleetError], message: str, worded_base: Any, make_tenants: Any, answer_all: Any
) -> None:
    tenants = make_tenants(worded_base)
    good = GenerationRequest(tenants.artifacts[0], "the cat", max_tokens=5)
    problem, answer = answer_all(tenants, [replace(good, controls=TokenControls(**changes)), good])
    assert isinstance(problem, error)
    assert message in str(problem)
    assert answer == tenants.answer_alone(good)


def test_an_answer_at_its_limit_is_told_apart_and_a_base_without_braces_writes_no_json(
    worded_base: Any, base: Any, make_tenants: Any, answer_all: Any
) -> None:
    tenants = make_tenants(worded_base)
    schema = TokenControls(json_schema='{"const": "cats"}')
    row = GenerationRequest(tenants.artifacts[0], "the cat", max_tokens=2, controls=schema)
    (_, cut), (text, whole) = answer_all(tenants, [row, replace(row, max_tokens=60)])
    assert (cut, whole, json.loads(text)) == ("length", "stop", "cats")
    tenants.store.folder.rename(tenants.store.folder.with_name("other"))
    letters = make_tenants(base)
    (problem,) = answer_all(letters, [replace(row, artifact=letters.artifacts[0])])
    assert isinstance(problem, DataError)
