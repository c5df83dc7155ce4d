"""The command `generate`: text from a tenant's champion."""

import os
import sys
from typing import Annotated, Any

import typer

from cli.arguments import TenantArgument


def generate(
    ctx: typer.Context,
    tenant: TenantArgument,
    text: Annotated[
        str,
        typer.Argument(help="Source text in the form of the tenant's data; `-` reads one source a line from stdin."),
    ],
    guidance: Annotated[
        float | None, typer.Option(help="0: the base alone; 1: with the prefix; above 1: its effect amplified.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling, with a temperature above 0.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-S", help="KEY=VALUE of the evaluate section for this call, such as num_beams=5."),
    ] = None,
) -> None:
    """Generate text from a source with the tenant's champion. Prints one line a source.

    The decoding is the one that the version was judged with, as on the server. `-S` changes one of its keys for this
    call: num_beams, max_new_tokens, min_new_tokens, length_penalty, banned, repetition_penalty, no_repeat_ngram,
    temperature, top_p, top_k.
    """
    from cli.output import print_text
    from components.stages.commands.generate import generate as stage
    from components.stages.workspace import Workspace

    changed = _parse_values(set_ or ())
    changed |= {name: value for name, value in (("guidance", guidance), ("seed", seed)) if value is not None}
    sources = _read_stdin() if text == "-" else [os.fsencode(text).decode("utf-8", "replace")]
    for line in stage(Workspace(ctx.obj), tenant, sources, changed):
        print_text(line)


def _read_stdin() -> list[str]:
    from components.errors import DataError

    try:
        return [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError as problem:
        got = f"byte {problem.object[problem.start]:#04x} ({problem.reason})"
        raise DataError("sources in UTF-8 on stdin", got, "convert them, for example with iconv") from None


def _parse_values(pairs: "list[str] | tuple[str, ...]") -> dict[str, Any]:
    from components.config.yaml_file import parse_yaml
    from components.errors import ConfigError

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError("KEY=VALUE after -S, the value in YAML", repr(pair), "write it like num_beams=5")
        values[key] = parse_yaml(value, f"-S {pair}")
    return values
