"""Demonstrations: the choice of pairs, the token budget, and tensors that are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import ArtifactError, DataError
from components.model.text.demonstrations import Demonstrations
from components.model.text.words import split_words_and_symbols

EOS = 0
WORDS = ("name", "Alder", "birch", ":", "|", "food", "Thai", "Ünal", "café", "7", "£", "寿司")
SOURCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
POOLS = st.lists(st.tuples(SOURCES, SOURCES), min_size=1, max_size=12).map(tuple)
MEALS = (
    ("name: Alder | food: Thai", "Alder serves Thai food."),
    ("name: Birch | food: French", "Birch serves French food."),
    ("name: Cedar | area: riverside", "Cedar lies at the river."),
    ("name: Dogwood | food: Thai | area: riverside", "Dogwood serves Thai food at the river."),
)


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def shown(demonstrations: Demonstrations, source: str, budget: int = 10_000, **values: Any) -> str:
    ids = demonstrations.encode_source(letters, EOS, source, budget, **values)
    return "".join(chr(number) if number else "#" for number in ids)


def tensor_of(values: object) -> torch.Tensor:
    text = values if isinstance(values, str) else json.dumps(values, sort_keys=True, separators=(",", ":"))
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def test_the_nearest_come_last() -> None:
    demonstrations = Demonstrations(MEALS, 3, "nearest")
    chosen = demonstrations.choose_pairs("name: Elm | food: Thai | area: riverside")
    assert chosen[-1] == MEALS[3]
    assert {chosen[0], chosen[1]} == {MEALS[0], MEALS[2]}
    assert demonstrations.choose_pairs("quite another thing") == [MEALS[2], MEALS[1], MEALS[0]]


@pytest.mark.parametrize(
    ("sources", "asked"),
    [
        (["北京的公园很大。", "他在学校里学习数学。", "这家餐馆的菜很便宜。"], "我们学校的数学老师"),
        (["สวนสาธารณะใหญ่มาก", "เขาเรียนคณิตศาสตร์ที่โรงเรียน", "อาหารร้านนี้ถูก"], "ครูคณิตศาสตร์ของโรงเรียน"),
        (["पार्क बड़ा है", "विद्यालय में गणित", "भोजन सस्ता"], "गणित का शिक्षक"),
    ],
)
def test_the_nearest_is_found_in_scripts_without_spaces_and_with_marks(sources: list[str], asked: str) -> None:
    demonstrations = Demonstrations(tuple((source, "x") for source in sources), 1, "nearest")
    assert demonstrations.choose_pairs(asked) == [(sources[1], "x")]


@settings(max_examples=60, deadline=None)
@given(POOLS, SOURCES, st.integers(1, 14))
def test_the_nearest_are_those_of_the_cosine_by_scikit_learn(pool: Any, source: str, count: int) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    words = TfidfVectorizer(tokenizer=split_words_and_symbols, token_pattern=None)
    vectors = words.fit([one for one, _ in pool])
    similarity = cosine_similarity(vectors.transform([one for one, _ in pool]), vectors.transform([source]))[:, 0]
    similarity += [one == source for one, _ in pool]
    chosen = Demonstrations(pool, count, "nearest").choose_pairs(source)
    assert len(chosen) == min(count, len(pool))
    best = sorted(similarity, reverse=True)[: len(chosen)]
    ranked = [max(similarity[index] for index, pair in enumerate(pool) if pair == one) for one in reversed(chosen)]
    assert np.allclose(ranked, best)


@settings(max_examples=60, deadline=None)
@given(POOLS, st.integers(1, 4), st.data())
def test_a_pair_with_the_same_source_is_nearest_or_excluded(pool: Any, count: int, data: st.DataObject) -> None:
    source, _ = data.draw(st.sampled_from(pool))
    demonstrations = Demonstrations(pool, count, "nearest")
    assert demonstrations.choose_pairs(source)[-1] == next(pair for pair in pool if pair[0] == source)
    others = [pair for pair in pool if pair[0] != source]
    for choice in ("nearest", "random"):
        left = Demonstrations(pool, count, choice).choose_pairs(source, leave_out_same=True)
        assert len(left) == min(count, len(others))
        assert all(pair in others for pair in left)


@settings(max_examples=40, deadline=None)
@given(POOLS, st.lists(SOURCES, min_size=1, max_size=5), st.integers(1, 6), st.sampled_from(["nearest", "random"]))
def test_the_choice_does_not_depend_on_earlier_sources(pool: Any, sources: list[str], count: int, choice: Any) -> None:
    together = Demonstrations(pool, count, choice)
    for source in [*sources, *reversed(sources)]:
        assert together.choose_pairs(source) == Demonstrations(pool, count, choice).choose_pairs(source)


def test_random_pairs_depend_on_seed_and_source() -> None:
    pool = tuple((f"source {number}", f"target {number}") for number in range(40))
    of_seeds = [tuple(Demonstrations(pool, 5, "random", seed).choose_pairs("a")) for seed in range(6)]
    of_sources = [tuple(Demonstrations(pool, 5, "random").choose_pairs(source)) for source in "abcdef"]
    assert len(set(of_seeds)) == len(set(of_sources)) == 6
    assert all(len(set(chosen)) == 5 for chosen in of_seeds)
    counts = np.zeros(40)
    for number in range(2000):
        for _, target in Demonstrations(pool[:10], 3, "random").choose_pairs(str(number)):
            counts[int(target.split()[1])] += 1
    # 600 expected for each; the bound is five standard deviations of a count.
    assert (abs(counts[:10] - 600) < 5 * (2000 * 0.3 * 0.7) ** 0.5).all()


def test_random_draws_are_the_same_on_every_machine() -> None:
    pool = tuple((f"s{number}", f"t{number}") for number in range(100))
    chosen = Demonstrations(pool, 4, "random", seed=3).choose_pairs("the source")
    assert [source for source, _ in chosen] == ["s1", "s4", "s37", "s56"]


def test_the_prompt_is_examples_as_in_training_and_then_the_source() -> None:
    demonstrations = Demonstrations(MEALS[:2], 2, "nearest")
    source = "name: Elm | food: French"
    expected = f"{MEALS[0][0]}# {MEALS[0][1]}#{MEALS[1][0]}# {MEALS[1][1]}#{source}#"
    assert shown(demonstrations, source) == expected


@pytest.mark.parametrize("choice", ["nearest", "random"])
def test_the_least_similar_pairs_are_dropped_until_the_rest_fits(choice: Any) -> None:
    demonstrations = Demonstrations(MEALS, 4, choice)
    source = "name: Elm | food: French"
    parts = [f"{one}# {target}#" for one, target in demonstrations.choose_pairs(source)]
    for budget in range(len(source) + 1, 300):
        fitting = ["".join([*parts[drop:], source, "#"]) for drop in range(5)]
        assert shown(demonstrations, source, budget) == next(text for text in fitting if len(text) <= budget)


def test_a_source_larger_than_the_budget_is_refused() -> None:
    demonstrations = Demonstrations(MEALS, 2, "nearest")
    assert shown(demonstrations, "abc", 4) == "abc#"
    with pytest.raises(DataError, match=r"at most 3 tokens; got 4 tokens \('abc'\)"):
        shown(demonstrations, "abc", 3)


def test_names_of_special_tokens_are_encoded_as_text(tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    demonstrations = Demonstrations((("a <|endoftext|> b", "one <|endoftext|>"),), 1, "nearest")
    ids = demonstrations.encode_source(encode, tokenizer.eos_token_id, "and now?", 200)
    assert ids.count(tokenizer.eos_token_id) == 3
    texts = ["a <|endoftext|> b", " one <|endoftext|>", "and now?"]
    assert tokenizer.decode(ids) == "".join(f"{text}<|endoftext|>" for text in texts)


@settings(max_examples=40, deadline=None)
@given(POOLS, st.integers(1, 9), st.sampled_from(["nearest", "random"]), st.integers(-5, 2**70))
def test_a_tensor_holds_all_fields(pool: Any, count: int, choice: Any, seed: int) -> None:
    demonstrations = Demonstrations(pool, count, choice, seed)
    tensor = demonstrations.to_tensor()
    assert tensor.dtype == torch.uint8
    assert Demonstrations.from_tensor(tensor) == demonstrations


def test_a_safetensors_file_holds_the_tensor(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    demonstrations = Demonstrations(MEALS, 2, "nearest", 4)
    save_file({"demonstrations": demonstrations.to_tensor()}, tmp_path / "some.safetensors")
    assert Demonstrations.from_tensor(load_file(tmp_path / "some.safetensors")["demonstrations"]) == demonstrations


GOOD: dict[str, Any] = {"choice": "nearest", "count": 2, "pool": [["a", "b"]], "seed": 0}


def test_the_unchanged_tensor_is_read() -> None:
    assert Demonstrations.from_tensor(tensor_of(GOOD)) == Demonstrations((("a", "b"),), 2, "nearest")


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_of(GOOD).to(torch.int8),
        tensor_of(GOOD)[None],
        tensor_of(GOOD)[:-1],
        torch.zeros(0, dtype=torch.uint8),
        torch.tensor([255, 254], dtype=torch.uint8),
        tensor_of("[" * 200_000),
        tensor_of(json.dumps(GOOD, sort_keys=True)),
        tensor_of('{"choice":"nearest","count":9,"count":2,"pool":[["a","b"]],"seed":0}'),
        tensor_of([]),
        tensor_of({**GOOD, "more": 1}),
        tensor_of({name: GOOD[name] for name in ("choice", "count", "pool")}),
        tensor_of({**GOOD, "count": 2.0}),
        tensor_of({**GOOD, "count": True}),
        tensor_of({**GOOD, "count": 0}),
        tensor_of({**GOOD, "seed": "0"}),
        tensor_of({**GOOD, "choice": "best"}),
        tensor_of({**GOOD, "choice": ["nearest"]}),
        tensor_of({**GOOD, "pool": []}),
        tensor_of({**GOOD, "pool": {"a": "b"}}),
        tensor_of({**GOOD, "pool": [["a", "b", "c"]]}),
        tensor_of({**GOOD, "pool": ["ab"]}),
        tensor_of({**GOOD, "pool": [["a", 1]]}),
        tensor_of({**GOOD, "pool": [["a", " "]]}),
        tensor_of({**GOOD, "pool": [["a", "\ud800"]]}),
    ],
)
def test_a_tensor_that_to_tensor_did_not_write_is_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(ArtifactError, match="export them again"):
        Demonstrations.from_tensor(tensor)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_gives_other_demonstrations(index: int, value: int) -> None:
    tensor = Demonstrations(MEALS, 2, "nearest", 4).to_tensor()
    tensor[index % len(tensor)] = value
    try:
        read = Demonstrations.from_tensor(tensor)
    except ArtifactError:
        return
    assert torch.equal(read.to_tensor(), tensor)


@pytest.mark.parametrize(
    ("pool", "count", "choice", "problem"),
    [
        ((), 1, "nearest", "at least one example"),
        (MEALS, 0, "nearest", "a count of 0"),
        (MEALS, 1, "likeliest", "likeliest"),
        ((("a", "b"), ("a", " ")), 1, "random", "in pair 2"),
    ],
)
def test_impossible_values_are_refused(pool: Any, count: int, choice: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Demonstrations(pool, count, choice)
