"""What a command line may ask for."""

from typing import Any

import pytest

from components.errors import ConfigError
from components.reproduction.request import EXPERIMENTS, make_request


def ask(experiment: str = "table1", **more: Any) -> Any:
    return make_request(experiment, base="b", data="d", **more)


def test_defaults_are_the_papers() -> None:
    low = ask("lowdata")
    assert (low.sizes, low.samples, low.seeds, low.budget) == ((50, 100, 200, 500), 5, (0, 1), None)
    assert ask("infix").lengths == (1, 10, 20)
    assert ask().rows == EXPERIMENTS["table1"].rows


def test_rows_come_in_the_tables_order() -> None:
    assert ask(only="base, full").rows == ("full", "base")


@pytest.mark.parametrize(
    ("experiment", "options", "says"),
    [
        ("table4", {}, "'table4'"),
        ("table1", {"preset": "smal"}, "did you mean 'small'?"),
        ("table1", {"only": "prefixes"}, "did you mean 'prefix'?"),
        ("table3", {"only": "lora"}, "'lora'"),
        ("table1", {"only": ","}, "name at least one"),
        ("table1", {"seeds": "0,x"}, "'0,x'"),
        ("table1", {"seeds": "-1"}, "from 0"),
        ("table1", {"seeds": "1,1"}, "name none twice"),
        ("table1", {"budget": "0"}, "--budget"),
        ("table1", {"budget": "many"}, "--budget"),
        ("table1", {"inputs": 0}, "--inputs"),
        ("lowdata", {"samples": 0}, "--samples"),
        ("lowdata", {"sizes": "0,50"}, "--sizes"),
        ("length", {"lengths": "1,5000"}, "to 1024"),
        ("table1", {"sizes": "50"}, "leave it out"),
        ("table1", {"lengths": "50"}, "leave it out"),
    ],
)
def test_a_mistake_is_told(experiment: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as told:
        ask(experiment, **options)
    assert says in str(told.value)
