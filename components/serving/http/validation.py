"""Turn pydantic's errors in a request's body into one error with the field's path and, if misspelt, the nearest key.

If a field allows several types, pydantic reports an error for each; the message names those whose path is longest.
Knows pydantic's errors; does not know routes or tenants.
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

_MAX_KEY_CHARS = 100
"""Of an unknown key in a message, and in the search for the nearest key."""

PydanticError = Mapping[str, Any]
FieldPath = Sequence[str | int]


def make_body_error(problems: Sequence[PydanticError], model: type[BaseModel], body: Any) -> RefusalError:
    """Return the first error in `body`, which should be a `model`; `problems` are pydantic's errors, at least one."""
    problems = _choose_deepest([_point_to_tag(problem) for problem in problems], body)
    first = problems[0]
    if first["type"] == "json_invalid":
        got = f"{first['ctx']['error']}, at character {first['loc'][-1]}"
        return RefusalError(400, "a body in JSON", got, "correct the body", code="invalid_json")
    path = _find_field_path(first, body)
    if first["type"] == "extra_forbidden":
        where = ".".join(map(str, path[:-1])) or "the request"
        known_keys = list_known_keys(model, first["loc"][:-1])
        unknown = make_unknown_key_error(str(path[-1])[:_MAX_KEY_CHARS], known_keys, where)
        return RefusalError(400, unknown.wanted, unknown.got, unknown.fix, code="unknown_parameter")
    if not path and first["type"] != "value_error":
        got = "no body" if first["type"] == "missing" else format_value(first["input"])
        return RefusalError(400, _WANTED_OBJECT, got, _OBJECT_FIX, code="invalid_json")
    if first["type"] == "missing":
        name = ".".join(map(str, path)) or "the body"
        return RefusalError(400, f"a value for {name}", "none", f"add {name}", code="missing_parameter")
    return _make_value_error(problems, path)


def _point_to_tag(problem: PydanticError) -> PydanticError:
    """Return the error of an object of no known kind as an error of the field that names the kind."""
    if problem["type"] not in ("union_tag_invalid", "union_tag_not_found"):
        return problem
    field = problem["ctx"]["discriminator"].strip("'")
    if problem["type"] == "union_tag_not_found":
        return {**problem, "type": "missing", "loc": (*problem["loc"], field)}
    kinds = " or ".join(problem["ctx"]["expected_tags"].rsplit(", ", 1))
    return {**problem, "loc": (*problem["loc"], field), "msg": kinds, "input": problem["ctx"]["tag"]}


def make_query_error(problem: PydanticError) -> RefusalError:
    """Return the error of a parameter in a URL; `problem` is pydantic's."""
    name = str(problem["loc"][-1])
    wanted = f"{name}: {_describe_expected(problem)}"
    return RefusalError(400, wanted, format_value(problem["input"]), f"correct {name}", code="invalid_parameter")


def _choose_deepest(problems: Sequence[PydanticError], body: Any) -> list[PydanticError]:
    """Return the errors of one place: the deepest one below the field in which the first error is."""
    paths = [_find_field_path(problem, body) for problem in problems]
    deepest = max((path for path in paths if path[:1] == paths[0][:1]), key=len)
    return [problem for problem, path in zip(problems, paths, strict=True) if path == deepest]


def _make_value_error(problems: Sequence[PydanticError], path: FieldPath) -> RefusalError:
    """Join the errors of one field."""
    chosen = [one for one in problems if not one["type"].endswith("_type")] or problems
    wanted = " or ".join(dict.fromkeys(map(_describe_expected, chosen)))
    name = ".".join(map(str, path)) or "the body"
    got = format_value(chosen[0]["input"])
    return RefusalError(400, f"{name}: {wanted}", got, f"correct {name}", code="invalid_parameter")


def _describe_expected(problem: PydanticError) -> str:
    words = _MESSAGE_SUFFIX.sub("", _MESSAGE_PREFIX.sub("", problem["msg"]))
    return words.replace("a valid dictionary", "a valid object")


def _find_field_path(problem: PydanticError, body: Any) -> FieldPath:
    """Return the keys and indices in the body, without the names of types that pydantic puts between them."""
    parts = problem["loc"][1:] if problem["loc"][:1] == ("body",) else problem["loc"]
    path: list[str | int] = []
    for part in parts:
        is_index = isinstance(body, list) and isinstance(part, int) and part < len(body)
        if is_index or (isinstance(body, dict) and part in body):
            path.append(part)
            body = body[part]
        elif problem["type"] == "missing" and part == parts[-1]:
            path.append(part)
    return path
