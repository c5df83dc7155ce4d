"""The command that asks a champion for text."""

from typing import Annotated, Any

import typer

from cli.arguments import TenantArgument


def generate(
    ctx: typer.Context,
    tenant: TenantArgument,
    text: Annotated[str, typer.Argument(help="Source text, as in the tenant's data; `-` reads lines from stdin.")],
    guidance: Annotated[
        float | None, typer.Option(help="0 is the base alone, 1 the prefix, above 1 more than it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="What a temperature draws.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-S", help="KEY=VALUE of the evaluate section for this request, as num_beams=5."),
    ] = None,
) -> None:
    """Generate text from a source with the tenant's champion, as its evaluation does. Prints one line a source.

    Decoding follows the tenant's `evaluate` section; `-S` changes a key of it for this request: num_beams,
    max_new_tokens, min_new_tokens, length_penalty, banned, repetition_penalty, no_repeat_ngram, temperature, top_p.
    """
    import sys

    from components.stages.commands.generate import generate as stage
    from components.stages.workspace import Workspace

    changed = _parse_values(set_ or ())
    changed |= {name: value for name, value in (("guidance", guidance), ("seed", seed)) if value is not None}
    sources = [line.rstrip("\n") for line in sys.stdin] if text == "-" else [text]
    for line in stage(Workspace(ctx.obj), tenant, sources, changed):
        typer.echo(line)


def _parse_values(pairs: "list[str] | tuple[str, ...]") -> dict[str, Any]:
    import yaml

    from components.errors import ConfigError

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise ConfigError("KEY=VALUE after -S, the value as in params.yaml", repr(pair), "write it as num_beams=5")
    return values
