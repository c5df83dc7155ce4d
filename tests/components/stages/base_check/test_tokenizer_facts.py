"""What a tokenizer does is found by encoding texts, for every kind of tokenizer."""

from typing import Any

import pytest
from architectures import PAIRS
from chat_templates import CHATML, LLAMA2, MARKED, make_chat_tokenizer
from tiny_models import build_model, make_base
from tokenizer_kinds import KINDS, make_tokenizer

from components.model.base.load import Base
from components.stages.base_check.tokenizer_facts import describe_tokenizer


def make(tokenizer: Any, kind: str = "gpt2") -> Base:
    sizes = {"decoder_start_token_id": 0} if kind in PAIRS else {}
    return make_base(build_model(kind, vocab_size=len(tokenizer) + 3, **sizes), tokenizer)


LEADS = {"llama3": ("<s>",), "opt": ("</s>",), "sentencepiece-bpe": ("<s>",), "sentencepiece-unigram": ("<s>",)}
LEADS |= {"metaspace-first": ("<s>",), "two-leads": ("<s>", "</s>"), "wordpiece": ("<s>",)}
LEADS |= {"roberta": ("<s>",), "llama-class": ("<s>",)}


@pytest.mark.parametrize("kind", KINDS)
def test_facts_of_each_kind(kind: str) -> None:
    facts = describe_tokenizer(make(make_tokenizer(kind)))
    assert (facts.lead, facts.eos, facts.pad) == (LEADS.get(kind, ()), "</s>", "<pad>")
    assert facts.token_rows == facts.vocabulary + 3
    assert facts.adds_space == (kind in ("sentencepiece-bpe", "sentencepiece-unigram"))
    assert facts.unknown == ("as the unknown token" if kind.startswith(("metaspace", "word")) else "as bytes")
    assert (facts.has_chat, facts.turn_ends) == (False, ())
    assert "base.chat_template" in facts.chat


def test_a_tokenizer_without_padding_pads_with_its_end() -> None:
    tokenizer = make_tokenizer("gpt2")
    tokenizer.pad_token = None
    assert describe_tokenizer(make(tokenizer)).pad is None


@pytest.mark.parametrize(
    ("kind", "template", "bos_from"),
    [
        ("gpt2", CHATML, "nothing"),
        ("llama3", CHATML, "the tokenizer"),
        ("llama3", MARKED, "the template"),
        ("sentencepiece-bpe", LLAMA2, "the template"),
    ],
)
def test_chat_templates(kind: str, template: str, bos_from: str) -> None:
    base = make(make_chat_tokenizer(kind, template))
    facts = describe_tokenizer(base)
    assert (facts.has_chat, facts.chat, facts.bos_from) == (True, "the tokenizer's own", bos_from)
    assert facts.turn_ends == (("</s>",) if template == LLAMA2 else ("</s>", "<|im_end|>"))
    assert describe_tokenizer(base, has_named_template=True).chat == "base.chat_template"


def test_what_conversations_do_not_work_with_is_named() -> None:
    refusing = describe_tokenizer(make(make_chat_tokenizer("gpt2", "{{ raise_exception('not today') }}")))
    assert not refusing.has_chat
    assert "not today" in refusing.chat
    pair = describe_tokenizer(make(make_chat_tokenizer("metaspace", CHATML), "t5"))
    assert (pair.has_chat, pair.lead) == (False, ())
    assert "decoder-only" in pair.chat
