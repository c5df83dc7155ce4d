"""Preparing a job: what the base does not support is refused before any training; words to initialize from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from method_training import make_config, train

from components.data.schema import Example
from components.errors import BaseModelError, ConfigError, DataError
from components.model.base.load import Base
from components.training.prepare import find_frequent_words


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
