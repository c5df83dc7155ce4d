"""Greedy and beam decoding, against transformers' `generate` on tiny random models."""

import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import BaseConfig
from components.errors import BaseModelError, ConfigError, DataError
from components.model.base.load import Base, load_base
from components.model.base.shapes import PrefixShape
from components.model.decoding import Decoding, generate_each, generate_text
from components.model.prefix.initialization import make_random_prefix, make_text_prefix
from components.model.prefix.prefix import Prefix

EOS, PAD, CONTEXT = 0, 1, 96
KINDS = ("gpt2", "llama")
SIZES = {"gpt2": {"n_positions": CONTEXT}, "llama": {"max_position_embeddings": CONTEXT}}


@pytest.fixture(scope="session")
def bases(build_base):
    return {kind: build_base(kind, 2, CONTEXT, **SIZES[kind]) for kind in KINDS}


def some_prefix(base: Base, length: int = 5, seed: int = 0) -> Prefix:
    plain = make_random_prefix(base.shape, length, seed)
    return Prefix({name: 0.7 * tensor / tensor.std() for name, tensor in plain.tensors.items()})


def generate(base: Base, prefix: Prefix | None, sources: list[list[int]], *options: Any) -> list[list[int]]:
    """Decode every source under one prefix."""
    return generate_each(base, [prefix] * len(sources), sources, *options)


def generate_by_transformers(base: Base, prefix: Prefix | None, source: list[int], decoding: Decoding) -> list[int]:
    """Decode one source by transformers' `generate`, with the prefix as a prefilled cache."""
    from transformers import DynamicCache

    slots = prefix.length if prefix else 0
    ids = torch.tensor([[PAD] * slots + source])
    values: dict[str, Any] = {"attention_mask": torch.ones_like(ids)}
    if prefix:
        layers = [prefix.get_layer(index) for index in range(base.shape.layers)]
        repeated = [tuple(part[None].repeat(decoding.num_beams, 1, 1, 1) for part in layer) for layer in layers]
        values["past_key_values"] = DynamicCache(repeated)
    output = base.model.generate(
        ids,
        num_beams=decoding.num_beams,
        do_sample=False,
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=EOS,
        pad_token_id=PAD,
        **({"length_penalty": decoding.length_penalty} if decoding.num_beams > 1 else {}),
        **values,
    )[0, slots + len(source) :].tolist()
    return output[: output.index(EOS)] if EOS in output else output


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("slots", "decoding"),
    [
        (0, Decoding(max_new_tokens=20)),
        (5, Decoding(max_new_tokens=20)),
        (5, Decoding(num_beams=5, max_new_tokens=20)),
        (0, Decoding(num_beams=5, max_new_tokens=20, length_penalty=0.0)),
        (5, Decoding(num_beams=3, max_new_tokens=20, length_penalty=2.0)),
        (0, Decoding(num_beams=2, max_new_tokens=1, length_penalty=-1.0)),
    ],
    ids=str,
)
def test_outputs_are_those_of_transformers(bases, kind, slots, decoding, some_sources):
    base = bases[kind]
    prefix = some_prefix(base, slots) if slots else None
    sources = some_sources(10)
    outputs = generate(base, prefix, sources, decoding, 5)
    assert outputs == [generate_by_transformers(base, prefix, source, decoding) for source in sources]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [0, 5])
def test_the_tiny_bases_end_their_rows_at_different_steps(bases, kind, slots, some_sources):
    """Otherwise the tests above would not cover rows that leave the batch early."""
    prefix = some_prefix(bases[kind], slots) if slots else None
    lengths = {
        len(ids)
        for beams in (1, 5)
        for ids in generate(bases[kind], prefix, some_sources(10), Decoding(num_beams=beams, max_new_tokens=20), 5)
    }
    assert len(lengths) > 2


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    beams=st.sampled_from([1, 4]),
    batch_size=st.integers(1, 9),
    number=st.integers(1, 6),
)
def test_other_rows_and_their_order_do_not_matter(bases, kind, seed, beams, batch_size, number, some_sources):
    base, sources = bases[kind], some_sources(number, seed)
    prefixes = [some_prefix(base, 1 + i, seed + i) if i % 3 else None for i in range(number)]
    decoding = Decoding(num_beams=beams, max_new_tokens=8)
    alone = [generate(base, one, [ids], decoding, 1)[0] for one, ids in zip(prefixes, sources, strict=True)]
    assert generate_each(base, prefixes, sources, decoding, batch_size) == alone
    assert generate_each(base, prefixes[::-1], sources[::-1], decoding, batch_size) == alone[::-1]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_ends_when_the_context_is_full(bases, kind, beams, some_sources):
    base = bases[kind]
    long = [2 + i % 60 for i in range(CONTEXT - 5 - 3 - 1)] + [EOS]
    sources = [long, *some_sources(3, 7)]
    prefix = some_prefix(base)
    outputs = generate(base, prefix, sources, Decoding(num_beams=beams, max_new_tokens=20), 4)
    assert len(outputs[0]) <= 3
    shorter = Decoding(num_beams=beams, max_new_tokens=3)
    assert outputs[0] == generate(base, prefix, [long], shorter, 1)[0]
    assert outputs[1:] == generate(base, prefix, sources[1:], Decoding(num_beams=beams, max_new_tokens=20), 1)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_fills_the_context_ends_with_the_forced_token(bases, kind, beams, some_sources, monkeypatch):
    base = bases[kind]
    monkeypatch.setattr(base.model.generation_config, "forced_eos_token_id", 9)
    sources = [[2 + i % 60 for i in range(CONTEXT - 4)] + [EOS], *some_sources(3, 7)]
    outputs = generate_each(base, [None] * 4, sources, Decoding(beams, 6), 4)
    assert outputs == [
        generate_by_transformers(base, None, ids, Decoding(beams, min(6, CONTEXT - len(ids)))) for ids in sources
    ]
    assert {ids[-1] for ids in outputs if len(ids) == 6} == {9}


def test_a_source_that_fills_the_context_is_named_in_the_error(bases):
    with pytest.raises(DataError, match="96 in source 2, prefix included"):
        generate(bases["gpt2"], some_prefix(bases["gpt2"]), [[5, EOS], [5] * 91], Decoding(), 2)
    with pytest.raises(DataError, match="none in source 1"):
        generate(bases["gpt2"], None, [[]], Decoding(), 2)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(bases, batch_size):
    with pytest.raises(ConfigError, match=f"at least 1 source; got {batch_size}"):
        generate_each(bases["gpt2"], [None], [[5, EOS]], Decoding(), batch_size)


def test_a_prefix_of_another_shape_is_refused(bases):
    other = make_random_prefix(PrefixShape(2, 4, 16), 5, 0)
    with pytest.raises(BaseModelError, match="a prefix of"):
        generate(bases["gpt2"], other, [[5, EOS]], Decoding(), 1)


@pytest.fixture
def input_shapes(bases):
    """The shapes of the ids that the Llama base reads, in order."""
    shapes: list[tuple[int, ...]] = []
    handle = bases["llama"].model.register_forward_pre_hook(
        lambda _, __, values: shapes.append(tuple(values["input_ids"].shape)), with_kwargs=True
    )
    yield shapes
    handle.remove()


@pytest.mark.parametrize("beams", [1, 3])
def test_finished_rows_leave_the_batch_and_beams_share_a_prefill(bases, beams, some_sources, input_shapes):
    outputs = generate(bases["llama"], None, some_sources(8, 3), Decoding(beams, 20, length_penalty=0.0), 8)
    assert input_shapes[0][0] == 8, "the prefill holds every row once"
    assert {width for _, width in input_shapes[1:]} == {beams}
    sizes = [rows for rows, _ in input_shapes[1:]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    if beams == 1:
        assert sizes == [size for step in range(1, 20) if (size := sum(len(ids) >= step for ids in outputs))]


@pytest.mark.parametrize("beams", [1, 3])
def test_waiting_rows_replace_finished_ones(bases, beams, some_sources, input_shapes):
    """With rows of 1 to 12 new tokens, a batch that waited for its last row would be half empty."""
    base, sources = bases["llama"], some_sources(60, 3)
    limits, decoding = [1 + 5 * row % 12 for row in range(60)], Decoding(beams, 12, min_new_tokens=12)
    outputs = generate_each(base, [None] * 60, sources, decoding, 8, limits=limits)
    assert [len(ids) for ids in outputs] == limits
    sizes = [rows for rows, width in input_shapes if width == beams]
    assert sum(sizes[:-12]) / len(sizes[:-12]) > 7
    assert max(sizes) == 8


def test_finished_rows_are_reported_and_no_input_gives_no_output(bases, some_sources):
    done: list[int] = []
    outputs = generate(bases["gpt2"], None, some_sources(7), Decoding(max_new_tokens=3), 3, done.append)
    assert (len(outputs), done) == (7, [1] * 7)
    assert generate(bases["gpt2"], None, [], Decoding(), 3) == []
    assert generate_text(bases["gpt2"], None, [], Decoding(), 3) == []


def test_texts_are_encoded_with_an_end_token_and_outputs_are_stripped(bases):
    base, decoding = bases["gpt2"], Decoding(max_new_tokens=8)
    prefix = some_prefix(base)
    (text,) = generate_text(base, prefix, ["NAME"], decoding, 1)
    (ids,) = generate(base, prefix, [[*base.tokenizer.convert_tokens_to_ids(list("NAME")), EOS]], decoding, 1)
    assert text == base.text_codec.decode(ids)
    assert generate_text(base, prefix, ["NAMELESS"], decoding, 1, max_source_tokens=4) == [text]


def test_the_prefix_and_the_model_do_not_change(bases, some_sources):
    base = bases["llama"]
    prefix = some_prefix(base)
    before = {name: tensor.clone() for name, tensor in prefix.tensors.items()}
    keys = set(vars(base.model))
    first = generate(base, prefix, some_sources(4), Decoding(num_beams=3, max_new_tokens=9), 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in prefix.tensors.items())
    assert set(vars(base.model)) == keys
    assert generate(base, prefix, some_sources(4), Decoding(num_beams=3, max_new_tokens=9), 4) == first


@pytest.fixture(scope="module")
def real_base() -> Base:
    folder = os.environ.get("PREFIXFLEET_TEST_MODELS")
    if not folder:
        pytest.skip("PREFIXFLEET_TEST_MODELS is not a folder with d2t-base/")
    return load_base(BaseConfig(path=f"{folder}/d2t-base"), device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 5])
def test_a_trained_base_gives_the_output_of_transformers(real_base, beams):
    texts = ["name : Blue Spice | eatType : pub", "name : Zizzi | food : Italian | area : riverside | near : Crowne"]
    sources = real_base.text_codec.encode_sources(texts)
    decoding = Decoding(num_beams=beams, max_new_tokens=30)
    prefix = make_text_prefix(real_base, "a restaurant in the city centre", 6)
    expected = [generate_by_transformers(real_base, prefix, source, decoding) for source in sources]
    assert generate(real_base, prefix, sources, decoding, 2) == expected
    written = [real_base.tokenizer.decode(ids).strip() for ids in expected]
    assert generate_text(real_base, prefix, texts, decoding, 2) == written
