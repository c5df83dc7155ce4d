"""Training, evaluation and serving read the same ids, with one BOS at most, for every kind of tokenizer."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from chat_templates import CHATML, LLAMA2, MARKED, PLAIN, make_chat_tokenizer, say
from tiny_models import build_model
from tokenizer_kinds import KINDS

from components.config import BaseConfig, TrainConfig
from components.data.conversations import parse_conversation
from components.data.pairs import TokenizedPair
from components.data.schema import Example
from components.model.base.load import Base, load_base
from components.model.decoding import Decoding, make_requests
from components.model.delta import Delta
from components.model.text.chat import ChatPrompt
from components.model.text.running_text import find_running_text
from components.serving.engine.source_encoder import SourceEncoder
from components.training.prepare import prepare_job

CONFIG = TrainConfig(prefix_length=1, initialization="random")
DECODING = Decoding(max_new_tokens=2)
NO_PREFIX: Any = SimpleNamespace(tenant="alder", delta=Delta(), max_source_tokens=None)
TEMPLATES = {"without BOS": CHATML, "BOS first": MARKED, "BOS in each turn": LLAMA2, "no special token": PLAIN}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Base]:
    """A function of a kind of tokenizer (and a template) to a base with it, loaded from a folder."""

    def make(kind: str, template: str | None = None) -> Base:
        folder = tmp_path_factory.mktemp("base")
        tokenizer = make_chat_tokenizer(kind, template)
        build_model("gpt2", vocab_size=len(tokenizer), n_positions=256).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load_base(BaseConfig(path=str(folder)), device="cpu")

    return make


def train_on(base: Base, example: Example) -> TokenizedPair:
    """The row of training, which is that of the validation loss too."""
    job = prepare_job(base, CONFIG, [example], [example])
    ((trained,), (validated,)) = job.train, job.validation
    assert (trained.source_ids, trained.target_ids) == (validated.source_ids, validated.target_ids)
    return trained


def evaluate_on(base: Base, source: str | ChatPrompt) -> tuple[int, ...]:
    (request,) = make_requests(base, Delta(), [source], DECODING)
    return tuple(request.source)


def serve(base: Base, source: str, *, is_chat: bool = False) -> tuple[int, ...]:
    encoder = SourceEncoder(base)
    try:
        encoded = asyncio.run(encoder.encode(NO_PREFIX, [source], DECODING, is_chat=is_chat))
    finally:
        encoder.close()
    return tuple(encoded[source].source)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind: str, load: Callable[..., Base]) -> None:
    base = load(kind)
    lead, eos = find_running_text(base.tokenizer).lead_ids, base.eos_id
    row = train_on(base, Example("the cat sat", ("on a mat",)))
    source = tuple(row.source_ids)
    assert source == evaluate_on(base, "the cat sat") == serve(base, "the cat sat")
    inner = [*source[len(lead) : -1], *row.target_ids[:-1]]
    assert source[: len(lead)] == lead
    assert source[-1] == row.target_ids[-1] == eos
    assert not {*inner} & {*base.tokenizer.all_special_ids}
    assert inner == base.tokenizer("the cat sat on a mat", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_conversations(kind: str, template: str, load: Callable[..., Base]) -> None:
    base = load(kind, TEMPLATES[template])
    messages = say("the cat sat", "on a mat")
    row = train_on(base, Example.from_conversation(parse_conversation(messages)))
    prompt = evaluate_on(base, ChatPrompt(messages[:-1]))
    assert tuple(row.source_ids) == prompt == serve(base, json.dumps({"messages": messages[:-1]}), is_chat=True)
    lead, bos = find_running_text(base.tokenizer).lead_ids, base.tokenizer.bos_token_id
    writes_bos = template.startswith("BOS")
    assert prompt.count(bos) == (1 if writes_bos or bos in lead else 0)
    if writes_bos:
        assert prompt[0] == bos
    else:
        assert prompt[: len(lead)] == lead
    assert bos not in row.target_ids
    assert row.target_ids[-1] == base.eos_id
