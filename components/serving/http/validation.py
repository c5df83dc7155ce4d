"""What is wrong with a request's body, in three beats: its place as the caller wrote it, and the nearest known key.

Where a value may be of several types, pydantic tells of each; the caller hears of those that came furthest. Knows
pydantic's errors; no route and no tenant.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from components.config.problems import format_value, list_known_keys, make_unknown_key_error
from components.serving.errors import RefusalError

_MESSAGE_PREFIX = re.compile(r"^(Input should be|(String|List|Dictionary) should have|Value error,) ")
_MESSAGE_SUFFIX = re.compile(r" after validation, not \d+$")
_WANTED_OBJECT = "a body that is a JSON object"
_OBJECT_FIX = "send an object, with content-type: application/json"

PydanticError = Mapping[str, Any]
FieldPath = Sequence[str | int]


def make_body_error(problems: Sequence[PydanticError], model: type[BaseModel], body: Any) -> RefusalError:
    """The first thing that is wrong with a `body` that was to be a `model`; `problems` are pydantic's, at least one."""
    first = problems[0]
    if first["type"] == "json_invalid":
        got = f"{first['ctx']['error']}, at character {first['loc'][-1]}"
        return RefusalError(400, "a body in JSON", got, "correct it", code="invalid_json")
    place = _find_field_path(first, body)
    if first["type"] == "extra_forbidden":
        parents = [str(part) for part in place[:-1]]
        told = make_unknown_key_error(
            str(place[-1]), list_known_keys(model, parents), ".".join(parents) or "the request"
        )
        return RefusalError(400, told.wanted, told.got, told.fix, code="unknown_parameter")
    if not place and first["type"] != "value_error":
        got = "none" if first["type"] == "missing" else format_value(first["input"])
        return RefusalError(400, _WANTED_OBJECT, got, _OBJECT_FIX, code="invalid_json")
    name = ".".join(map(str, place[:1])) or "the body"
    if first["type"] == "missing":
        return RefusalError(400, f"a value for {name}", "none", "add it", code="missing_parameter")
    return _make_value_error([one for one in problems if _find_field_path(one, body)[:1] == place[:1]], body)


def _make_value_error(problems: Sequence[PydanticError], body: Any) -> RefusalError:
    """All of one field."""
    depth = max(len(_find_field_path(one, body)) for one in problems)
    deepest = [one for one in problems if len(_find_field_path(one, body)) == depth]
    tellings = [one for one in deepest if not one["type"].endswith("_type")] or deepest
    wanted = " or ".join(dict.fromkeys(map(_describe_expected, tellings)))
    name = ".".join(map(str, _find_field_path(tellings[0], body))) or "the body"
    return RefusalError(
        400, f"{name}: {wanted}", format_value(tellings[0]["input"]), f"correct {name}", code="invalid_parameter"
    )


def _describe_expected(problem: PydanticError) -> str:
    words = _MESSAGE_SUFFIX.sub("", _MESSAGE_PREFIX.sub("", problem["msg"]))
    return words.replace("a valid dictionary", "a valid object")


def _find_field_path(problem: PydanticError, body: Any) -> FieldPath:
    """Keys and indices that the caller knows; pydantic puts the names of types between them."""
    parts = problem["loc"][1:] if problem["loc"][:1] == ("body",) else problem["loc"]
    place: list[str | int] = []
    for part in parts:
        is_index = isinstance(body, list) and isinstance(part, int) and part < len(body)
        if is_index or (isinstance(body, dict) and part in body):
            place.append(part)
            body = body[part]
        elif problem["type"] == "missing" and part == parts[-1]:
            place.append(part)
    return place
