"""Bounds of numbers in JSON schemas with which llguidance 1.9 allows the excluded bound itself.

Such is `{"exclusiveMinimum": 0, "maximum": 0.5}`: the excluded bound is an integer, and the other bound is in the same
interval between two integers, so that 0 is allowed. Knows JSON schemas; does not know tokens.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_LIMITS = {"exclusiveMinimum": ("maximum", "exclusiveMaximum"), "exclusiveMaximum": ("minimum", "exclusiveMinimum")}
"""Each excluded bound, and the names of the bounds on the other side."""
_MEMBERS = ("allOf", "anyOf", "oneOf")
_MOST_JOINED = 64
"""So many parts of a schema are joined at most: a chain of references may have thousands."""


def find_unsafe_bounds(schema: Any) -> str:
    """Return an excluded bound that would be allowed and the bound near it, for a message; "" if there is none."""
    for part in _list_parts(schema):
        bounds = [] if part.get("type") == "integer" else list(_list_bounds(part, schema))
        for name, excluded in bounds:
            for other, value in bounds:
                distance = value - excluded if name == "exclusiveMinimum" else excluded - value
                if other in _LIMITS.get(name, ()) and excluded == int(excluded) and 0 < distance < 1:
                    return f"{name} {excluded} with {other} {value}"
    return ""


def _list_parts(part: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(part, Mapping):
        yield part
    inner = part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
    for one in inner:
        yield from _list_parts(one)


def _list_bounds(part: Any, schema: Any) -> Iterator[tuple[str, float]]:
    """Yield the bounds of a part of the schema, and of those that it is joined with."""
    waiting, seen = [part], set[int]()
    while waiting and len(seen) < _MOST_JOINED:
        one = waiting.pop()
        if not isinstance(one, Mapping) or id(one) in seen:
            continue
        seen.add(id(one))
        for name in ("minimum", "maximum", *_LIMITS):
            value = one.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield name, value
        waiting += [member for name in _MEMBERS if isinstance(one.get(name), list) for member in one[name]]
        waiting.append(_follow(schema, one.get("$ref")))


def _follow(schema: Any, reference: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    for word in reference[1:].split("/")[1:]:
        key = word.replace("~1", "/").replace("~0", "~")
        schema = schema.get(key) if isinstance(schema, Mapping) else None
    return schema
