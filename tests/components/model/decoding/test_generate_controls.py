"""Controls of generation from texts: lengths, banned texts, repetition, sampling, demonstrations."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from components.errors import DataError
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each, generate_text
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.model.text.demonstrations import Demonstrations

EOS = 0
TEXTS = ["some words", "other words", "a", "no. 7, please", "some words", "words alone"]


@pytest.fixture(scope="module", params=("gpt2", "llama", "bart", "t5"))
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 3)


@pytest.fixture(scope="module")
def prefix(base: Base, values_for: Callable[..., Prefix]) -> Prefix:
    return values_for(base.model, 4)


def ids_of(base: Base, prefix: Prefix, **options: Any) -> list[list[int]]:
    decoding = Decoding(**{"max_new_tokens": 12, **options})
    return generate_each(base, [prefix] * len(TEXTS), base.text_codec.encode_sources(TEXTS), decoding, 4)


@pytest.mark.parametrize("beams", [1, 3])
def test_outputs_have_at_least_and_at_most_the_lengths_set(base: Base, prefix: Prefix, beams: int) -> None:
    free = ids_of(base, prefix, num_beams=beams)
    assert all(len(ids) <= 12 for ids in free)
    assert all(7 <= len(ids) <= 12 for ids in ids_of(base, prefix, num_beams=beams, min_new_tokens=7))
    assert {len(ids) for ids in ids_of(base, prefix, num_beams=beams, min_new_tokens=5, max_new_tokens=5)} == {5}


@pytest.mark.parametrize("beams", [1, 3])
def test_banned_texts_are_not_generated_and_other_rows_do_not_change(base: Base, prefix: Prefix, beams: int) -> None:
    free = generate_text(base, prefix, TEXTS, Decoding(beams, 12, min_new_tokens=6), 4)
    letter = Counter("".join(free)).most_common(1)[0][0]
    pair = next(text[start : start + 2] for text in free for start in range(len(text) - 1) if " " not in text)
    for banned in (letter, pair):
        decoding = Decoding(beams, 12, min_new_tokens=6, banned=(banned,))
        outputs = generate_text(base, prefix, TEXTS, decoding, 4)
        assert any(banned in text for text in free)
        assert not any(banned in text for text in outputs)
        if beams == 1:
            assert [text for text in free if banned not in text] == [
                own for own, text in zip(outputs, free, strict=True) if banned not in text
            ]


@pytest.mark.parametrize("beams", [1, 3])
def test_repetition_is_reduced(base: Base, prefix: Prefix, beams: int) -> None:
    for ids in ids_of(base, prefix, num_beams=beams, no_repeat_ngram=2, min_new_tokens=10):
        bigrams = list(pairwise(ids))
        assert len(bigrams) == len(set(bigrams))
    free, penalised = (
        sum(len(ids) - len(set(ids)) for ids in ids_of(base, prefix, num_beams=beams, min_new_tokens=10, **options))
        for options in ({}, {"repetition_penalty": 50.0})
    )
    assert penalised <= free
    assert penalised == 0 or beams > 1


def test_samples_depend_on_the_seed_and_the_row_only(base: Base, prefix: Prefix) -> None:
    """The batch size and the other rows do not matter."""
    decoding = Decoding(max_new_tokens=12, temperature=1.0, seed=7)
    first = generate_text(base, prefix, TEXTS, decoding, 6)
    assert generate_text(base, prefix, TEXTS, decoding, 6) == first
    for size in (1, 2, 4):
        assert generate_text(base, prefix, TEXTS, decoding, size) == first
    other = Decoding(max_new_tokens=12, temperature=1.0, seed=8)
    assert generate_text(base, prefix, TEXTS, other, 6) != first
    assert first[0] != first[4], "the same source twice is sampled twice"
    state = torch.random.get_rng_state()
    sources = base.text_codec.encode_sources(TEXTS)
    mixed = generate_each(base, [prefix, None, prefix, None, None, prefix], sources, decoding, 4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [base.text_codec.decode(mixed[row]) for row in (0, 2, 5)] == [first[row] for row in (0, 2, 5)]
    assert generate_text(base, prefix, TEXTS[:3], decoding, 2) == first[:3]


def test_samples_follow_the_models_probabilities(base: Base, prefix: Prefix, next_logits: Any) -> None:
    source, number = base.text_codec.encode_sources(["a"])[0], 600
    wanted = next_logits(base, prefix, source, []).div(0.8).softmax(-1)
    decoding = Decoding(max_new_tokens=1, temperature=0.8)
    samples = generate_each(base, [prefix] * number, [source] * number, decoding, 100)
    counts = torch.bincount(torch.tensor([ids[0] if ids else EOS for ids in samples]), minlength=len(wanted))
    assert (counts / number - wanted).abs().sum() / 2 < 0.15
    top = Decoding(max_new_tokens=1, temperature=0.8, top_k=2)
    kept = {ids[0] if ids else EOS for ids in generate_each(base, [prefix] * 60, [source] * 60, top, 60)}
    assert kept <= set(wanted.topk(2).indices.tolist())


EXAMPLES = Demonstrations((("red a", "one"), ("red b", "two"), ("blue c", "six")), 2, "nearest")


@pytest.mark.parametrize("guidance", [1.0, 2.0, 0.0])
def test_demonstrations_come_before_a_source_and_the_base_reads_the_source_alone(
    base: Base, guidance: float, next_logits: Any, greedy: Any
) -> None:
    delta, decoding = Delta(demonstrations=EXAMPLES), Decoding(max_new_tokens=6, guidance=guidance)
    texts = ["red b b", "blue"]
    done: list[int] = []
    outputs = generate_text(base, delta, texts, decoding, 2, done.append)
    assert done == [1, 1]
    for text, output in zip(texts, outputs, strict=True):
        bare = base.text_codec.encode_sources([text])[0]
        (prompt,) = delta.make_text_codec(base, 6).encode_sources([text])
        assert len(prompt) > len(bare)

        def mixed(base: Base, _row: None, source: Any, new: Any, bare: Any = bare) -> torch.Tensor:
            own, plain = next_logits(base, None, source, new), next_logits(base, None, bare, new)
            logits: torch.Tensor = plain + guidance * (own - plain)
            return logits

        assert output == base.text_codec.decode(greedy(base, None, prompt, 6, mixed))


def test_prompts_leave_space_for_the_new_tokens(base: Base) -> None:
    pool = tuple((f"red {number}", "an answer") for number in range(9))
    delta = Delta(demonstrations=Demonstrations(pool, 9, "nearest"))
    (ids,) = delta.make_text_codec(base, 20).encode_sources(["red"])
    budget = base.context if base.is_encoder_decoder else base.context - 20
    assert budget - 16 < len(ids) <= budget
    (text,) = generate_text(base, delta, ["red"], Decoding(max_new_tokens=20, min_new_tokens=20), 1)
    assert len(text) <= 20
    with pytest.raises(DataError, match="a source of at most"):
        generate_text(base, delta, ["red " * 20], Decoding(max_new_tokens=20), 1)
