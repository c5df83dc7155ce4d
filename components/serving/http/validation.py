"""What is wrong with a request's body, in three beats: its place as the caller wrote it, and the nearest known key.

Where a value may be of several types, pydantic tells of each; the caller hears of those that came furthest. Knows
pydantic's errors; no route and no tenant.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from components.config.problems import known_keys, shown, unknown_key
from components.serving.errors import RefusalError

_LEADING = re.compile(r"^(Input should be|(String|List|Dictionary) should have|Value error,) ")
_TRAILING = re.compile(r" after validation, not \d+$")
_OBJECT = "a body that is a JSON object"
_SEND = "send an object, with content-type: application/json"

Problem = Mapping[str, Any]
Place = Sequence[str | int]


def refuse_body(problems: Sequence[Problem], model: type[BaseModel], body: Any) -> RefusalError:
    """The first thing that is wrong with a `body` that was to be a `model`; `problems` are pydantic's, at least one."""
    first = problems[0]
    if first["type"] == "json_invalid":
        got = f"{first['ctx']['error']}, at character {first['loc'][-1]}"
        return RefusalError(400, "a body in JSON", got, "correct it", code="invalid_json")
    place = _place(first, body)
    if first["type"] == "extra_forbidden":
        parents = [str(part) for part in place[:-1]]
        told = unknown_key(str(place[-1]), known_keys(model, parents), ".".join(parents) or "the request")
        return RefusalError(400, told.wanted, told.got, told.fix, code="unknown_parameter")
    if not place and first["type"] != "value_error":
        got = "none" if first["type"] == "missing" else shown(first["input"])
        return RefusalError(400, _OBJECT, got, _SEND, code="invalid_json")
    name = ".".join(map(str, place[:1])) or "the body"
    if first["type"] == "missing":
        return RefusalError(400, f"a value for {name}", "none", "add it", code="missing_parameter")
    return _wrong_value([one for one in problems if _place(one, body)[:1] == place[:1]], body)


def _wrong_value(problems: Sequence[Problem], body: Any) -> RefusalError:
    """All of one field."""
    depth = max(len(_place(one, body)) for one in problems)
    deepest = [one for one in problems if len(_place(one, body)) == depth]
    tellings = [one for one in deepest if not one["type"].endswith("_type")] or deepest
    wanted = " or ".join(dict.fromkeys(map(_wanted, tellings)))
    name = ".".join(map(str, _place(tellings[0], body))) or "the body"
    return RefusalError(
        400, f"{name}: {wanted}", shown(tellings[0]["input"]), f"correct {name}", code="invalid_parameter"
    )


def _wanted(problem: Problem) -> str:
    words = _TRAILING.sub("", _LEADING.sub("", problem["msg"]))
    return words.replace("a valid dictionary", "a valid object")


def _place(problem: Problem, body: Any) -> Place:
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
