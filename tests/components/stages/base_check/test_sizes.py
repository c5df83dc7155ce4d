"""Sizes come from the call, else from the parameters, and fit the context."""

import pytest
from tiny_models import build_model, make_base, make_letters

from components.config import BaseConfig, Params
from components.errors import ConfigError
from components.stages.base_check.sizes import choose_sizes

PARAMS = Params.model_validate(
    {"base": {"path": "x"}, "train": {"prefix_length": 4, "batch_size": 3}, "evaluate": {"max_new_tokens": 20}}
)


def test_defaults_are_shortened_to_the_context() -> None:
    base = make_base(build_model("gpt2"), make_letters())
    sizes = choose_sizes(base, PARAMS)
    assert (sizes.prefix_length, sizes.batch_size, sizes.output_tokens, sizes.input_tokens) == (4, 3, 20, 40)
    assert (sizes.rows, sizes.pass_tokens) == (PARAMS.serve.rows, PARAMS.engine.train_tokens)
    long = choose_sizes(make_base(base.model, base.tokenizer, 4096), Params(base=BaseConfig(path="x")))
    assert (long.input_tokens, long.tenants) == (256, 100)
    pair = choose_sizes(make_base(build_model("t5"), make_letters(), 30), PARAMS)
    assert (pair.output_tokens, pair.input_tokens) == (15, 30)


def test_the_calls_values_win_and_are_checked() -> None:
    base = make_base(build_model("gpt2"), make_letters())
    values = {"prefix_length": 10, "batch_size": 7, "rows": 5, "input_tokens": 30, "output_tokens": 24, "tenants": 2}
    assert choose_sizes(base, PARAMS, **values).__dataclass_fields__.keys() >= values.keys()
    sizes = choose_sizes(base, PARAMS, **values)
    assert {key: getattr(sizes, key) for key in values} == values
    with pytest.raises(ConfigError, match=r"context of 64 tokens; got 10 slots, 31 input tokens and 24 output"):
        choose_sizes(base, PARAMS, **{**values, "input_tokens": 31})
    with pytest.raises(ConfigError, match=r"context of 64 tokens; got 64 slots"):
        choose_sizes(base, PARAMS, prefix_length=64)
    with pytest.raises(ConfigError, match=r"the call: train\.prefix_length = 2000"):
        choose_sizes(base, PARAMS, prefix_length=2000)
