"""Source and target are the ids of one running text, whatever a tokenizer puts at the start of a text."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS, WORDS, make_tokenizer

from components.errors import DataError
from components.model.text.demonstrations import Demonstrations
from components.model.text.running_text import RunningText, find_running_text
from components.model.text.texts import TextCodec

TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
FOUND = {
    "gpt2": ("", " "),
    "prefix-space": ("", " "),
    "llama3": ("<s>", " "),
    "opt": ("</s>", " "),
    "sentencepiece-bpe": ("<s>", ""),
    "sentencepiece-unigram": ("<s>", ""),
    "metaspace": ("", " "),
    "metaspace-first": ("<s>", " "),
    "two-leads": ("<s> </s>", " "),
    "wordpiece": ("<s>", " "),
    "wordlevel": ("", " "),
    "roberta": ("<s>", " "),
    "byte-level-eos": ("", " "),
    "llama-class": ("<s>", " "),
}


@cache
def tokenizer_of(kind: str) -> Any:
    return make_tokenizer(kind)


def names(tokenizer: Any, ids: list[int]) -> list[str]:
    return [str(name) for name in tokenizer.convert_ids_to_tokens(ids)]


@pytest.mark.parametrize("kind", KINDS)
def test_conventions_are_found_by_encoding_words(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    lead, joiner = FOUND[kind]
    wanted = RunningText(tuple(tokenizer.convert_tokens_to_ids(lead.split())), joiner)
    assert find_running_text(tokenizer) == wanted


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(source=TEXTS, target=TEXTS)
def test_source_and_target_are_the_ids_of_the_running_text(kind: str, source: str, target: str) -> None:
    tokenizer = tokenizer_of(kind)
    codec = TextCodec(tokenizer)
    (source_ids,), (target_ids,) = codec.encode_sources([source]), codec.encode_targets([target])
    lead = list(find_running_text(tokenizer).lead_ids)
    assert source_ids[: len(lead)] == lead
    assert source_ids[-1] == target_ids[-1] == tokenizer.eos_token_id
    inner = [*source_ids[len(lead) : -1], *target_ids[:-1]]
    assert not {*inner} & {*tokenizer.all_special_ids}
    assert inner == tokenizer(f"{source} {target}", add_special_tokens=False)["input_ids"]
    assert codec.decode([*source_ids, *target_ids]) == f"{source} {target}"
    assert codec.decode(target_ids) == target


def test_a_target_has_one_word_mark_and_a_source_the_start_token_once() -> None:
    codec = TextCodec(tokenizer_of("sentencepiece-bpe"))
    (source,), (target,) = codec.encode_sources(["the cat"]), codec.encode_targets(["the cat"])
    assert names(codec.tokenizer, source) == ["<s>", "▁the", "▁cat", "</s>"]
    assert names(codec.tokenizer, target) == ["▁the", "▁cat", "</s>"]


def test_a_cut_source_keeps_its_start_token() -> None:
    codec = TextCodec(tokenizer_of("llama3"))
    assert names(codec.tokenizer, codec.encode_sources(["the cat"], 1)[0]) == ["<s>", "the", "</s>"]


@pytest.mark.parametrize("kind", KINDS)
def test_demonstrations_have_the_start_token_once_and_one_space_before_targets(kind: str) -> None:
    shown = Demonstrations((("the cat", "a mat"),), 1, "nearest")
    codec = TextCodec(tokenizer_of(kind), demonstrations=shown, source_token_budget=100)
    plain = TextCodec(codec.tokenizer)
    lead = list(find_running_text(codec.tokenizer).lead_ids)
    ((first,), (target,), (last,)) = (
        plain.encode_sources(["the cat"]),
        plain.encode_targets(["a mat"]),
        plain.encode_sources(["blue"]),
    )
    assert codec.encode_sources(["blue"]) == [[*first, *target, *last[len(lead) :]]]
    exact = TextCodec(codec.tokenizer, demonstrations=shown, source_token_budget=len(first + target + last) - len(lead))
    assert exact.encode_sources(["blue"]) == codec.encode_sources(["blue"])


@pytest.mark.parametrize("kind", ["sentencepiece-bpe", "metaspace"])
def test_letters_outside_the_vocabulary_are_bytes_or_unknown(kind: str) -> None:
    codec = TextCodec(tokenizer_of(kind))
    (ids,) = codec.encode_targets(["cat 寿"])
    if kind == "metaspace":
        assert codec.unknown_id in ids
    else:
        assert codec.unknown_id not in ids
        assert codec.decode(ids) == "cat 寿"


def test_text_that_the_normaliser_changes_is_encoded_as_changed() -> None:
    codec = TextCodec(tokenizer_of("metaspace"))
    assert codec.encode_targets(["\uff43at"]) == codec.encode_targets(["cat"])


def test_ids_without_a_row_are_refused_with_the_token_and_the_text() -> None:
    tokenizer = tokenizer_of("gpt2")
    rows = max(tokenizer("river", add_special_tokens=False)["input_ids"])
    codec = TextCodec(tokenizer, token_rows=rows)
    assert codec.encode_sources(["zz"])
    for encode in (codec.encode_sources, codec.encode_targets, lambda texts: codec.encode_words(texts[0])):
        with pytest.raises(DataError, match=rf"below {rows}.*id \d+ \('.*river'\) in 'river'"):
            encode(["river"])


@pytest.mark.parametrize("folder", ["PREFIXFLEET_TEST_DATA/gpt2-tokenizer", "PREFIXFLEET_TEST_MODELS/d2t-base"])
def test_ids_of_gpt2_and_of_the_experiments_base_are_as_before(folder: str) -> None:
    from transformers import AutoTokenizer, GPT2Tokenizer

    variable, name = folder.split("/")
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no folder")
    path = Path(os.environ[variable]) / name
    tokenizer: Any = GPT2Tokenizer.from_pretrained(path) if "gpt2" in name else AutoTokenizer.from_pretrained(path)
    texts = ["name : The Vaults | Type : pub", "<|endoftext|>", "Ünal £20 — 寿司", "x"]
    codec = TextCodec(tokenizer)
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    eos = tokenizer.eos_token_id
    assert find_running_text(tokenizer).is_plain
    assert codec.encode_sources(texts) == [[*ids, eos] for ids in tokenizer(texts, **plain)["input_ids"]]
    spaced = tokenizer([f" {text}" for text in texts], **plain)["input_ids"]
    assert codec.encode_targets(texts) == [[*ids, eos] for ids in spaced]
