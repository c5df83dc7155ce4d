"""The reference pages of the site, written from the code: commands, settings, the HTTP API and metrics.

Knows the product's command line, configuration, application and metrics; does not know mkdocs.
"""

import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from components.config import Params
from components.config.problems import find_section

_METHODS = ("get", "post", "put", "patch", "delete")


def write_commands() -> str:
    """Return a page with every command, its help and its options."""
    from cli.main import app

    parts = ["# Commands", "Options before the command's name apply to all commands.", "## prefixfleet"]
    root: Any = typer.main.get_command(app)
    context = root.make_context("prefixfleet", ["--help"], resilient_parsing=True)
    parts += [_list_options(root, context)]
    for name, command in _walk_commands(root):
        parts += [f"## prefixfleet {name}", _unwrap(command.help or ""), _list_options(command, context)]
    return _join(parts)


def write_settings() -> str:
    """Return a page with every key of params.yaml: type, default and meaning."""
    lead = (
        "The keys of `params.yaml`. An unknown key is an error. Which of them a tenant can have, and which value wins, "
        "is in [Your own tenants](../tenants.md#which-value-wins)."
    )
    own = {name: field for name, field in Params.model_fields.items() if find_section(field.annotation) is None}
    parts = ["# Settings", lead, _list_fields(own)]
    for name, field in Params.model_fields.items():
        section = find_section(field.annotation)
        if section is not None:
            parts += _write_section(name, section)
    return _join(parts)


def write_api() -> str:
    """Return a page with every path of the server's API, its parameters and the fields of its body."""
    from components.serving.http.app import build_app

    service: Any = SimpleNamespace()
    schema = build_app(service).openapi()
    parts = [
        "# HTTP API",
        schema["info"]["description"],
        "The server has the same as a page, `/docs`, and `/openapi.json`.",
    ]
    for path, item in schema["paths"].items():
        for method in (name for name in _METHODS if name in item):
            operation = item[method]
            parts += [f"## {method.upper()} {path}", operation.get("description") or operation.get("summary", "")]
            parameters = [
                (f"`{one['name']}`", one["in"], _name_type(one.get("schema", {})), one.get("description", ""))
                for one in operation.get("parameters", ())
            ]
            parts += [_make_table(("parameter", "in", "type", "meaning"), parameters)]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            parts += [_list_body(schema, body)]
    return _join(parts)


def write_metrics() -> str:
    """Return a page with every metric of the server's `/metrics`, and every metric of flows."""
    from components.serving.fleet.metrics import GAUGES, ServingMetrics
    from components.stages.run_metrics import RUN_COUNTERS, RUN_GAUGES

    rows = [
        (f"`{family.name}{'_total' if family.type == 'counter' else ''}`", family.type, family.documentation)
        for family in ServingMetrics().registry.collect()
    ]
    rows += [(f"`prefixfleet_{name}`", "gauge", text) for name, text in GAUGES.items()]
    runs = [(f"`prefixfleet_{name}`", "gauge", text) for name, text in RUN_GAUGES.items()]
    runs += [(f"`prefixfleet_{name}_total`", "counter", text) for name, text in RUN_COUNTERS.items()]
    lead = "[Monitor a fleet](../monitoring.md) says how Prometheus gets them, and which alerts there are."
    servers = (
        "What `/metrics` of the model server says, in Prometheus's text format, beside the metrics of its process."
    )
    flows = "What flows leave at their end, and what `prefixfleet metrics` prints."
    head = ("metric", "kind", "meaning")
    return _join(
        [
            "# Metrics",
            lead,
            "## Of a server",
            servers,
            _make_table(head, rows),
            "## Of flows",
            flows,
            _make_table(head, runs),
        ]
    )


def _walk_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _walk_commands(command, f"{before}{name} ")
        elif not command.hidden:
            yield before + name, command


def _list_options(command: Any, context: Any) -> str:
    rows = []
    for option in command.params:
        if getattr(option, "hidden", False) or "--help" in option.opts:
            continue
        is_argument = option.param_type_name == "argument"
        names = option.name.upper() if is_argument else ", ".join((*option.opts, *option.secondary_opts))
        record = option.get_help_record(context)
        rows.append((f"`{names}`", _unwrap(record[1] if record else getattr(option, "help", "") or "")))
    return _make_table(("option", "meaning"), rows)


def _write_section(path: str, section: type[BaseModel]) -> list[str]:
    """Return the parts of a section and of those in it."""
    inner = {name: find_section(field.annotation) for name, field in section.model_fields.items()}
    parts = [f"## {path}", _unwrap(section.__doc__ or ""), _list_fields(section.model_fields)]
    for name, one in inner.items():
        if one is not None:
            parts += _write_section(f"{path}.{name}", one)
    return parts


def _list_fields(fields: Mapping[str, FieldInfo]) -> str:
    rows = [
        (f"`{name}`", _name_annotation(field.annotation), _show_default(field), field.description or "")
        for name, field in fields.items()
    ]
    return _make_table(("key", "type", "default", "meaning"), rows)


def _show_default(field: FieldInfo) -> str:
    if field.is_required():
        return "(needed)"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "(below)"
    if isinstance(default, list) and any(isinstance(one, BaseModel) for one in default):
        default = [one.model_dump(exclude_defaults=True) or one.model_dump() for one in default]
    return f"`{json.dumps(default, ensure_ascii=False, default=float)}`"


def _name_annotation(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name_annotation(one) for one in inner))
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _name_annotation(inner[0])
    if isinstance(annotation, type) and origin is None:
        if issubclass(annotation, BaseModel):
            return "section"
        words = {
            "NoneType": "null",
            "str": "text",
            "int": "whole number",
            "float": "number",
            "Decimal": "number",
            "bool": "true or false",
        }
        return words.get(annotation.__name__, annotation.__name__)
    if origin in (list, tuple):
        return f"list of {_name_annotation(inner[0])}"
    return "map" if origin in (dict, Mapping) else str(annotation)


def _list_body(schema: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    reference = body.get("$ref")
    if reference is None:
        return ""
    model = schema["components"]["schemas"][reference.rsplit("/", 1)[1]]
    needed = set(model.get("required", ()))
    rows = [
        (f"`{name}`", _name_type(field), "needed" if name in needed else "", field.get("description", ""))
        for name, field in model.get("properties", {}).items()
    ]
    return _make_table(("field", "type", "", "meaning"), rows)


def _name_type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[1]
    options = [one for key in ("anyOf", "oneOf") for one in field.get(key, ())]
    if options:
        return " or ".join(dict.fromkeys(map(_name_type, options)))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{one}`" for one in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_name_type(field.get('items', {}))}"
    return str(field.get("type", "any value"))


def _make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    if not lines:
        return ""
    return "\n".join(f"| {' | '.join(row)} |" for row in (tuple(head), ("---",) * len(head), *lines))


def _unwrap(text: str) -> str:
    """Return a docstring or help text with each paragraph in one line."""
    paragraphs = [" ".join(part.split()) for part in text.replace("\b", "").split("\n\n")]
    return "\n\n".join(part for part in paragraphs if part)


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
