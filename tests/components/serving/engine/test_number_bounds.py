"""Bounds that llguidance does not keep are found, also where a schema's parts bring them together."""

from typing import Any

import pytest

from components.serving.engine.number_bounds import find_unsafe_bounds

LOW, HIGH = {"exclusiveMinimum": 0}, {"maximum": 0.5}


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"type": "number", **LOW, **HIGH}, "exclusiveMinimum 0 with maximum 0.5"),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 1.5}, "exclusiveMinimum 1 with exclusiveMaximum 1.5"),
        ({"minimum": -0.5, "exclusiveMaximum": 0.0}, "exclusiveMaximum 0.0 with minimum -0.5"),
        ({"properties": {"a": {"items": [LOW | HIGH]}}}, "exclusiveMinimum 0 with maximum 0.5"),
        ({"allOf": [LOW, {"anyOf": [{"type": "null"}, HIGH]}]}, "exclusiveMinimum 0 with maximum 0.5"),
        ({"$defs": {"a/b": LOW}, "items": {"$ref": "#/$defs/a~1b", **HIGH}}, "exclusiveMinimum 0 with maximum 0.5"),
        ({"type": "integer", **LOW, **HIGH}, ""),
        ({"properties": {"count": LOW, "share": HIGH}}, ""),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, ""),
        ({"exclusiveMinimum": 0.25, "maximum": 0.5}, ""),
        ({"minimum": 0, "maximum": 0.5}, ""),
        ({"exclusiveMinimum": True, "maximum": 0.5}, ""),
        ({"$ref": "#", "exclusiveMinimum": 0}, ""),
        ({"$ref": "#/none/there", "maximum": 1}, ""),
        (True, ""),
    ],
)
def test_unsafe_bounds(schema: Any, found: str) -> None:
    assert find_unsafe_bounds(schema) == found


def test_a_chain_of_thousands_of_references_ends() -> None:
    links = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(3000)}
    assert find_unsafe_bounds({"$defs": links, "$ref": "#/$defs/a0"}) == ""
