"""The command `base convert`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Convert a base's weights to safetensors.")

_RevisionOption = Annotated[str | None, typer.Option(help="Revision of a model of the hub.")]


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Folder with pytorch_model.bin, or a model id on the hub.")],
    target: Annotated[Path, typer.Argument(help="New folder for the model with safetensors and its tokenizer.")],
    revision: _RevisionOption = None,
) -> None:
    """Convert a model with pytorch_model.bin to a base with safetensors. The pickle runs no code."""
    from cli.output import print_line
    from components.config import BaseConfig
    from components.model.base.conversion import convert_to_safetensors

    convert_to_safetensors(BaseConfig(path=source, revision=revision), target)
    print_line(f"wrote {target}")
