"""Preparing a job: what the base does not support is refused before any training; words to initialize from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from method_training import make_config, train
from tokenizer_kinds import KINDS, make_tokenizer

from components.data.schema import Example
from components.errors import BaseModelError, ConfigError, DataError
from components.model.base.load import Base
from components.model.decoding import Decoding, make_requests
from components.training.prepare import find_frequent_words, prepare_job


@pytest.mark.parametrize(
    ("kind", "values", "error", "message"),
    [
        ("bart", {"method": "infix"}, BaseModelError, "a decoder-only base for an infix; got .*BartFor"),
        ("bart", {"method": "embedding"}, BaseModelError, "a decoder-only base for a soft prompt; got .*BartFor"),
        ("gpt2", {"method": "prefix", "prefix_length": 64}, ConfigError, "64"),
        ("bart", {"method": "prefix+lora", "prefix_length": 70}, ConfigError, "70"),
        ("gpt2", {"method": "embedding", "prefix_length": 52}, DataError, "including 52 of the prefix"),
        ("gpt2", {"method": "top-k", "top_layers": 3}, BaseModelError, "the top 3 layers; got a decoder of 2"),
        ("bart", {"method": "top-k", "top_layers": 9}, BaseModelError, "the top 9 layers; got a decoder of 2"),
        ("gpt2", {"method": "lora", "lora_targets": ["nothing"]}, BaseModelError, "nothing"),
    ],
)
def test_what_a_base_does_not_support_is_refused_before_training(
    build_base: Callable[..., Base],
    tmp_path: Path,
    kind: str,
    values: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    base = build_base(kind)
    config = make_config(**values)

    def log(*_: Any) -> None:
        pytest.fail("trained")

    with pytest.raises(error, match=message):
        train(base, config, state=tmp_path / "state", run_key="a", log=log)
    assert not (tmp_path / "state").exists()
    assert train(base, make_config("prefix", max_steps=1)).steps == 1


def test_the_most_frequent_words_come_first_and_ties_keep_their_order() -> None:
    sources = ["red boat | 7", "blue boat : red", "boat ,"]
    assert find_frequent_words([Example(source, ("x",)) for source in sources]) == "boat red 7 blue"
    chinese = find_frequent_words([Example("北京的公园很大。公园", ("x",)), Example("公园 A4", ("x",))])
    assert chinese == "公 园 北 京 的 很 大 A4"


@pytest.mark.parametrize("kind", KINDS)
def test_training_evaluation_and_serving_read_the_same_ids(
    kind: str, build_model: Callable[..., Any], base_of: Callable[..., Base]
) -> None:
    tokenizer = make_tokenizer(kind)
    base = replace(base_of(build_model("gpt2", vocab_size=len(tokenizer))), tokenizer=tokenizer)
    examples = [Example("the cat sat on", ("a blue mat",)), Example("cheap river", ("near",))]
    for values in ({"method": "prefix"}, {"method": "in-context", "demonstrations": 1}):
        job = prepare_job(base, make_config(prefix_length=2, **values), examples, examples)
        requests = make_requests(
            base, job.module.make_delta(), [one.source for one in examples], Decoding(max_new_tokens=8)
        )
        assert [list(pair.source_ids) for pair in job.validation] == [list(one.source) for one in requests]
        text = base.text_codec.decode([*job.validation[1].source_ids, *job.validation[1].target_ids])
        assert text.endswith("cheap river near")


def test_text_that_the_tokenizer_does_not_know_is_refused_above_the_limit(
    build_model: Callable[..., Any], base_of: Callable[..., Base]
) -> None:
    tokenizer = make_tokenizer("metaspace")
    base = replace(base_of(build_model("gpt2", vocab_size=len(tokenizer))), tokenizer=tokenizer)
    examples = [Example("the cat", ("寿司",))]
    assert len(prepare_job(base, make_config("prefix"), examples, examples).train) == 1
    with pytest.raises(DataError, match=r"unknown tokens, first in '寿司' of here, split train"):
        prepare_job(base, make_config("prefix"), examples, examples, max_unknown=0.1, name="here")
