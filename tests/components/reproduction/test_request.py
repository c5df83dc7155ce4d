from typing import Any

import pytest

from components.errors import ConfigError
from components.reproduction.request import EXPERIMENTS, make_request


def request_of(experiment: str = "table1", **more: Any) -> Any:
    return make_request(experiment, base="b", data="d", **more)


def test_defaults_are_the_papers() -> None:
    low = request_of("lowdata")
    assert (low.sizes, low.samples, low.seeds, low.budget) == ((50, 100, 200, 500), 5, (0, 1), None)
    assert request_of("infix").lengths == (1, 10, 20)
    assert request_of().rows == EXPERIMENTS["table1"].rows


def test_rows_are_in_the_order_of_the_table() -> None:
    assert request_of(only="base, full").rows == ("full", "base")


@pytest.mark.parametrize(
    ("experiment", "options", "message"),
    [
        ("table4", {}, "'table4'"),
        ("table1", {"preset": "smal"}, "did you mean 'small'?"),
        ("table1", {"only": "prefixes"}, "did you mean 'prefix'?"),
        ("table3", {"only": "lora"}, "'lora'"),
        ("table1", {"only": ","}, "name at least one"),
        ("table1", {"seeds": "0,x"}, "'0,x'"),
        ("table1", {"seeds": "-1"}, "from 0"),
        ("table1", {"seeds": "1,1"}, "each of them once"),
        ("table1", {"budget": "0"}, "--budget"),
        ("table1", {"budget": "many"}, "--budget"),
        ("table1", {"inputs": 0}, "--inputs"),
        ("lowdata", {"samples": 0}, "--samples"),
        ("lowdata", {"sizes": "0,50"}, "--sizes"),
        ("length", {"lengths": "1,5000"}, "to 1024"),
        ("table1", {"sizes": "50"}, "remove it"),
        ("table1", {"lengths": "50"}, "remove it"),
    ],
)
def test_an_invalid_option_is_refused(experiment: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        request_of(experiment, **options)
    assert message in str(error.value)
