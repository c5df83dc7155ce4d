"""Examples as ids that fit the context, with an encoder of one id per letter."""

from collections.abc import Sequence

import pytest

from components.data.pairs import TokenizedPair, TokenizedPairs, count_pair_tokens
from components.data.schema import Example
from components.data.tokens import encode_examples
from components.errors import DataError

EOS = 0


class Letters:
    """A text encoder of one id per letter, whose targets start with 1; it does not know `?`."""

    eos_id, unknown_id = EOS, ord("?")

    def encode_sources(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        return [[*map(ord, text[:limit]), EOS] for text in texts]

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1, *map(ord, text), EOS] for text in texts]


def encode(*examples: Example, **changes: object) -> TokenizedPairs:
    options = {"context": 64, "prefix_length": 0, "max_source_tokens": None, "expand_references": False}
    return encode_examples(Letters(), examples, **{**options, **changes})  # type: ignore[arg-type]


def text(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def test_a_pair_is_the_source_and_the_first_reference() -> None:
    (pair,) = encode(Example("ab", ("cd", "ef")))
    assert (text(pair.source_ids), text(pair.target_ids)) == ("ab\0", "\1cd\0")
    assert pair.length == 7


def test_expand_references_gives_a_pair_per_reference() -> None:
    pairs = encode(Example("a", ("b", "c")), Example("d", ("e",)), expand_references=True)
    assert [text(pair.target_ids) for pair in pairs] == ["\1b\0", "\1c\0", "\1e\0"]
    assert [text(pair.source_ids) for pair in pairs] == ["a\0", "a\0", "d\0"]


def test_no_examples_give_no_pairs() -> None:
    assert list(encode()) == []
    assert count_pair_tokens(encode()).shape == (0, 2)


def test_many_pairs_are_equal_to_those_encoded_one_by_one() -> None:
    examples = [Example("ab" * (number % 5), (f"{number}", "x" * (number % 7))) for number in range(1500)]
    pairs = encode(*examples, expand_references=True)
    alone = [pair for one in examples for pair in encode(one, expand_references=True)]
    assert list(pairs) == alone
    assert len(pairs) == 3000
    assert TokenizedPair((*map(ord, "abab"), EOS), (1, ord("2"), EOS)) == pairs[4]


def test_the_context_can_be_filled_and_not_exceeded() -> None:
    example = Example("abc", ("de",))
    assert encode(example, context=11, prefix_length=3)[0].length == 8
    with pytest.raises(
        DataError,
        match=r"at most 10 .* 3 of the prefix; .*source of 4 and a target of 4 .*example 2 of the examples \('abc'\)",
    ):
        encode(Example("a", ("b",)), example, context=10, prefix_length=3)


def test_with_separate_contexts_source_and_target_may_each_fill_the_context() -> None:
    example = Example("abc", ("def",))
    assert encode(example, context=5, prefix_length=30, separate_contexts=True)[0].length == 9
    with pytest.raises(DataError, match=r"source of 4 and a target of 5 tokens in example 1 of acme, split train"):
        encode(example, context=4, separate_contexts=True, name="acme, split train")
    with pytest.raises(DataError, match=r"source of 6 "):
        encode(Example("abcde", ("d",)), context=5, separate_contexts=True)


def test_a_source_is_cut_only_with_max_source_tokens() -> None:
    (pair,) = encode(Example("a" * 80, ("b",)), max_source_tokens=5)
    assert text(pair.source_ids) == "aaaaa\0"
    with pytest.raises(DataError, match="max_source_tokens"):
        encode(Example("a" * 80, ("b",)))


def refuse(texts: Letters, *examples: Example) -> str:
    options = {"context": 64, "prefix_length": 0, "max_source_tokens": None, "expand_references": True}
    with pytest.raises(DataError) as refusal:
        encode_examples(texts, examples, **options, max_unknown=0.0)  # type: ignore[arg-type]
    return refusal.value.got


def test_unknown_tokens_are_counted_without_the_end_tokens_and_shown_with_their_texts() -> None:
    examples = [
        Example("ab?d", ("xy", "?")),
        Example("abcd", ("xy??",)),
        Example("?bcd", ("x",)),
        Example("a?", ("b",)),
    ]
    letters = sum(len(one.source) + len(text) + 1 for one in examples for text in one.references)
    wanted = f"{7 / letters:.2%} unknown tokens, first in 'ab?d', '?', 'xy??' of the examples"
    assert refuse(Letters(), *examples) == wanted
    assert len(encode(Example("a", ("b",)), max_unknown=0.0)) == 1
    assert len(encode(max_unknown=0.0)) == 0


def test_an_end_token_that_also_stands_for_unknown_text_counts_only_inside_texts() -> None:
    class Same(Letters):
        unknown_id = EOS

    wanted = "12.50% unknown tokens, first in 'a\\x00' of the examples"
    assert refuse(Same(), Example("ab", ("c",)), Example("a\0", ("d",))) == wanted


def test_more_unknown_tokens_than_the_limit_are_refused_with_the_share_and_the_texts() -> None:
    examples = Example("ab?d", ("xy",)), Example("a" * 13, ("b",))
    assert len(encode(*examples, max_unknown=0.05)) == 2
    message = r"at most 4\.00% .*; got 4\.55% unknown tokens, first in 'ab\?d' of the examples; .*data\.max_unknown"
    with pytest.raises(DataError, match=message):
        encode(*examples, max_unknown=0.04)
