"""Texts as ids and back: conventions of decoder-only bases, and special tokens of encoder-decoder bases."""

from collections.abc import Callable
from typing import Any

import pytest

from components.errors import BaseModelError, DataError
from components.model.text.demonstrations import Demonstrations
from components.model.text.texts import TextCodec

EOS = 0
SPECIAL = ["<eos>", "<pad>", "<unk>", "<s>", "<en>", "<ro>"]


def tokenizer_of(template: str | None = None) -> Any:
    """A byte-level tokenizer with its special tokens first; texts of more than 16 tokens would give a warning."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if template:
        ids = [(token, vocabulary[token]) for token in SPECIAL if token in template]
        inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        additional_special_tokens=["<en>", "<ro>"],
        model_max_length=16,
    )


@pytest.fixture(scope="module")
def texts() -> TextCodec:
    return TextCodec(tokenizer_of())


def shown(texts: TextCodec, ids: list[int]) -> str:
    return str(texts.tokenizer.decode(ids, skip_special_tokens=False))


def test_source_and_target_end_with_eos_and_the_target_has_one_space_before_it(texts: TextCodec) -> None:
    assert shown(texts, texts.encode_sources(["ab"])[0]) == "ab<eos>"
    assert shown(texts, texts.encode_targets(["cd"])[0]) == " cd<eos>"


def test_no_texts_give_no_ids(texts: TextCodec) -> None:
    assert texts.encode_sources([]) == texts.encode_targets([]) == []
    assert TextCodec(tokenizer_of("$A <eos>"), encoder_decoder=True).encode_sources([]) == []


def test_a_source_is_cut_only_with_a_limit(texts: TextCodec) -> None:
    assert shown(texts, texts.encode_sources(["a" * 80], 5)[0]) == "aaaaa<eos>"
    assert shown(texts, texts.encode_sources(["a" * 80])[0]) == "a" * 80 + "<eos>"
    assert shown(texts, texts.encode_sources(["ab"], 5)[0]) == "ab<eos>"


@pytest.mark.parametrize("pair", [False, True])
def test_the_name_of_a_special_token_is_encoded_as_text(pair: bool) -> None:
    texts = TextCodec(tokenizer_of("$A <eos>" if pair else None), encoder_decoder=pair)
    for make in (texts.encode_sources, texts.encode_targets):
        (ids,) = make(["a<eos>b"])
        assert ids.count(EOS) == 1
        assert texts.decode(ids) == "a<eos>b"


def test_a_tokenizer_without_eos_is_refused() -> None:
    class Without:
        eos_token_id = None

    for pair in (False, True):
        for make in (TextCodec(Without(), pair).encode_sources, TextCodec(Without(), pair).encode_targets):
            with pytest.raises(BaseModelError, match="end-of-text"):
                make(["a"])


@pytest.mark.parametrize(
    ("template", "around"),
    [
        ("$A <eos>", "{}<eos>"),
        ("<s> $A <eos>", "<s>{}<eos>"),
        ("$A <eos> <en>", "{}<eos><en>"),
        ("<en> $A <eos>", "<en>{}<eos>"),
        (None, "{}<eos>"),
        ("<s> $A", "<s>{}<eos>"),
    ],
    ids=["t5", "bart", "mbart", "mbart-50", "bare", "start alone"],
)
def test_texts_of_an_encoder_decoder_base_have_the_special_tokens_of_its_tokenizer(
    template: str | None, around: str
) -> None:
    texts = TextCodec(tokenizer_of(template), encoder_decoder=True)
    assert [shown(texts, ids) for ids in texts.encode_sources(["abc", "d"])] == [
        around.format("abc"),
        around.format("d"),
    ]
    assert shown(texts, texts.encode_sources(["abcdefgh"], 3)[0]) == around.format("abc")
    assert shown(texts, texts.encode_targets(["a b"])[0]) == around.format("a b")
    assert texts.decode(texts.encode_targets(["a b"])[0]) == "a b"


def test_targets_are_encoded_in_the_target_mode_of_the_tokenizer() -> None:
    """Marian and mBART have another vocabulary or language code for targets."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_of("$A <eos> <en>")

    def switch(name: str) -> Callable[[], None]:
        def run() -> None:
            special = [("<eos>", 0), (name, SPECIAL.index(name))]
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single=f"$A <eos> {name}", special_tokens=special
            )

        return run

    tokenizer._switch_to_target_mode, tokenizer._switch_to_input_mode = switch("<ro>"), switch("<en>")
    texts = TextCodec(tokenizer, encoder_decoder=True)
    assert shown(texts, texts.encode_targets(["ab"])[0]) == "ab<eos><ro>"
    assert shown(texts, texts.encode_sources(["ab"])[0]) == "ab<eos><en>"


def test_an_unknown_last_letter_is_not_an_end_token() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<eos>": 0, "<unk>": 1, "a": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")
    texts = TextCodec(tokenizer, encoder_decoder=True)
    assert texts.encode_sources(["a", "a b"]) == texts.encode_targets(["a", "a b"]) == [[2, EOS], [2, 1, EOS]]


def test_decoded_texts_are_stripped_and_have_no_special_tokens(texts: TextCodec) -> None:
    ids = texts.encode_targets(["  a , b  "])[0]
    assert texts.decode([1, *ids, EOS, 1]) == "a , b"


EXAMPLES = Demonstrations((("red a", "one"), ("red b", "two"), ("blue c", "three")), 2, "nearest")


def test_demonstrations_come_before_a_source(texts: TextCodec) -> None:
    own = TextCodec(texts.tokenizer, demonstrations=EXAMPLES, source_token_budget=100)
    (ids,) = own.encode_sources(["red b b"])
    assert shown(texts, ids) == "red a<eos> one<eos>red b<eos> two<eos>red b b<eos>"
    assert own.encode_targets(["x"]) == texts.encode_targets(["x"])
    longer = TextCodec(texts.tokenizer, demonstrations=EXAMPLES, source_token_budget=len(ids) - 1)
    assert shown(texts, longer.encode_sources(["red b b"])[0]) == "red b<eos> two<eos>red b b<eos>"


def test_a_limit_cuts_sources_but_not_targets_of_demonstrations(texts: TextCodec) -> None:
    long = Demonstrations((("red apple", "one two three"),), 1, "nearest")
    own = TextCodec(texts.tokenizer, demonstrations=long, source_token_budget=100)
    limit = len(texts.encode_sources(["red a"])[0]) - 1
    cut = shown(texts, own.encode_sources(["red berry"], limit)[0])
    assert cut == "red a<eos> one two three<eos>red b<eos>"


def test_a_source_of_the_training_split_is_not_shown_its_own_target(texts: TextCodec) -> None:
    own = TextCodec(texts.tokenizer, demonstrations=EXAMPLES, source_token_budget=100, leave_out_same=True)
    assert "two" not in shown(texts, own.encode_sources(["red b"])[0])


def test_a_source_larger_than_the_budget_is_refused(texts: TextCodec) -> None:
    with pytest.raises(DataError, match="at most 4 tokens"):
        TextCodec(texts.tokenizer, demonstrations=EXAMPLES, source_token_budget=4).encode_sources(["red b"])


@pytest.mark.parametrize("template", ["<s> $A <eos>", "$A <eos> <en>", "<en> $A <eos>", "$A <eos>"])
def test_source_and_demonstrations_of_an_encoder_decoder_base_are_one_text(template: str) -> None:
    texts = TextCodec(tokenizer_of(template), encoder_decoder=True, demonstrations=EXAMPLES, source_token_budget=100)
    (ids,) = texts.encode_sources(["red b b"])
    inner = "red a<eos> one<eos>red b<eos> two<eos>red b b"
    assert shown(texts, ids) == template.replace("$A", inner).replace(" <", "<").replace("<s> ", "<s>").replace(
        "<en> r", "<en>r"
    )
    exact = TextCodec(texts.tokenizer, encoder_decoder=True, demonstrations=EXAMPLES, source_token_budget=len(ids))
    assert exact.encode_sources(["red b b"]) == [ids]
    tight = TextCodec(texts.tokenizer, encoder_decoder=True, demonstrations=EXAMPLES, source_token_budget=len(ids) - 1)
    assert len(tight.encode_sources(["red b b"])[0]) < len(ids)
