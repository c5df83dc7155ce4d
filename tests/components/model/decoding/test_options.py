"""Options of decoding: from a section `evaluate`, and values that are refused."""

from typing import Any

import pytest

from components.config import EvaluateConfig
from components.errors import ConfigError
from components.model.decoding.options import Decoding


def test_options_are_read_from_an_evaluate_section() -> None:
    config = EvaluateConfig(num_beams=3, max_new_tokens=9, min_new_tokens=2, banned=["x"], guidance=2.0, seed=4)
    assert Decoding.from_config(config) == Decoding(3, 9, min_new_tokens=2, banned=("x",), guidance=2.0, seed=4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_beams": 0}, "num_beams"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"guidance": -0.1}, "guidance"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "9 and 8"),
        ({"temperature": 0.5, "num_beams": 2}, "temperature 0.5 and num_beams 2"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Decoding(**values)
