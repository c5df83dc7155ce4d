"""Turns pydantic's validation errors into ConfigErrors. Knows pydantic models; does not know the sections."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from components.errors import ConfigError

HIDDEN = "hidden"
"""Type of a `PydanticCustomError` about a value that may be a secret, and is not quoted."""
_EMPTY_VALUES = {"dict_type": "{}", "model_type": "{}", "list_type": "[]"}
_UNION_TYPE = re.compile(r"(dict|list|tuple|literal|union)\[")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def to_config_error(problems: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """Return the first problem as a ConfigError; for an unknown key suggest the nearest key of that section."""
    first, *others = problems.errors()
    options = [one for one in others if one["loc"][:-1] == first["loc"][:-1] and _is_option(one["loc"][-1])]
    keys = first["loc"][:-1] if options else first["loc"]
    path, value = [str(part) for part in keys if not _UNION_TYPE.match(str(part))], first["input"]
    if first["type"] == "extra_forbidden":
        return make_unknown_key_error(path[-1], list_known_keys(model, path[:-1]), f"{where}: {'.'.join(path)}")
    if first["type"] == "invalid_key":
        return ConfigError("a key that is a string", f"{where}: {'.'.join(path)}", "put the key in quotes")
    if path[-1] == "[key]":
        parent = f"{where}: {'.'.join(path[:-2])}"
        if first["type"] == "literal_error":
            return make_unknown_key_error(value, _parse_choices(first["ctx"]["expected"]), parent)
        return ConfigError("a key that is a string", f"{parent}: {value!r}", "put the key in quotes")
    if first["type"] == "missing":
        return ConfigError(f"a value for {'.'.join(path)}", f"none in {where}", "add it, or restore the file from git")
    if first["type"] == HIDDEN:
        return ConfigError(first["msg"], f"{where}: {'.'.join(path)}, whose value is not shown", "correct the value")
    wanted = ", or ".join(dict.fromkeys(_describe_wanted(one) for one in (*reversed(options), first)))
    return ConfigError(
        wanted, f"{where}: {'.'.join(path)} = {format_value(value)}", _suggest_fix(first["type"], value, first)
    )


def _is_option(part: int | str) -> bool:
    """Return whether the last part of a path in pydantic's errors is the type of one option of a union."""
    return part in ("int", "float", "str", "bool") or _UNION_TYPE.match(str(part)) is not None


def _describe_wanted(problem: ErrorDetails) -> str:
    words = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return words.partition(" or instance of ")[0].replace("a valid dictionary", "keys with values")


def _suggest_fix(kind: str, value: Any, problem: Mapping[str, Any]) -> str:
    if kind in ("float_type", "int_type") and isinstance(value, str) and _NUMBER.fullmatch(value):
        return "this is text: write the number without quotes"
    if kind == "bool_type":
        return "write true or false, without quotes"
    if value is None and kind in _EMPTY_VALUES:
        return f"write {_EMPTY_VALUES[kind]} for none, or remove the key to keep the default"
    if kind == "literal_error":
        near = difflib.get_close_matches(str(value), _parse_choices(problem["ctx"]["expected"]), n=1, cutoff=0.5)
        return f"did you mean {near[0]!r}?" if near else "set one of these values"
    return "correct the value"


def _parse_choices(expected: str) -> tuple[str, ...]:
    return tuple(re.findall(r"'([^']*)'", expected))


def format_value(value: Any) -> str:
    """Return the value's repr, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def make_unknown_key_error(key: str, known: tuple[str, ...], where: str) -> ConfigError:
    """Return an error on an unknown key that suggests the nearest known one."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]!r}?" if near else "remove the key"
    return ConfigError(f"one of {', '.join(known)}", f"unknown key {key!r} ({where})", fix)


def list_known_keys(model: type[BaseModel], path: Sequence[str | int]) -> tuple[str, ...]:
    """Return the keys of the section at `path` within a model, or of the nearest section above it.

    `path` is as in pydantic's errors: beside fields it may have keys of mappings, indices of lists and, of a union,
    the tag or the name of the model. Of a union that the path does not decide, the keys of all models are returned.
    """
    sections = [model]
    for part in path:
        fields = [one.model_fields[str(part)] for one in sections if str(part) in one.model_fields]
        inner = [section for field in fields for section in find_sections(field.annotation)]
        chosen = [] if fields else [one for one in sections if part == one.__name__ or _has_tag(one, part)]
        sections = inner or chosen or sections
    return tuple(dict.fromkeys(name for section in sections for name in section.model_fields))


def _has_tag(section: type[BaseModel], tag: str | int) -> bool:
    kinds = (field.annotation for field in section.model_fields.values())
    return any(tag in get_args(kind) for kind in kinds if get_origin(kind) is Literal)


def find_section(annotation: Any) -> type[BaseModel] | None:
    """Return the first model in a field's annotation; None for a field without one."""
    return next(iter(find_sections(annotation)), None)


def find_sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in a field's annotation: options of a union, items of a list, values of a mapping."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in find_sections(part)]
