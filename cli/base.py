"""The commands `base check` and `base convert`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Check a base before any tenant is trained; convert its weights.")

_RevisionOption = Annotated[str | None, typer.Option(help="Revision of a model of the hub.")]


@app.command()
def check(
    ctx: typer.Context,
    path: Annotated[
        str | None, typer.Argument(help="Folder of a model, or its id on the hub. Default: base.path of params.yaml.")
    ] = None,
    revision: _RevisionOption = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or fastest. Default: float32.")] = None,
    quantize: Annotated[str | None, typer.Option(help="As base.quantize, such as bitsandbytes-nf4.")] = None,
    chat_template: Annotated[str | None, typer.Option(help="File with a Jinja template for conversations.")] = None,
    prefix_length: Annotated[int | None, typer.Option(help="Slots per layer. Default: train.prefix_length.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples per training step. Default: train.batch_size.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows served together. Default: serve.rows.")] = None,
    input_tokens: Annotated[int | None, typer.Option(min=1, help="Length of an input. Default: 256 tokens.")] = None,
    output_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of an output. Default: evaluate.max_new_tokens.")
    ] = None,
    tenants: Annotated[
        int | None, typer.Option(min=1, help="Tenants in training, and on the server. Default: 100.")
    ] = None,
    trial: Annotated[bool, typer.Option(help="Train and generate on random text for some seconds.")] = True,
    seconds: Annotated[float, typer.Option(min=0.0, help="About how long the trial takes.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what works on a base, what its tokenizer does, and what training and serving take; then try it.

    A base that cannot work is refused with the reason, and exit code 2. Needs no workspace; in one, the defaults are
    those of params.yaml. docs/bases.md explains the lines and the formulas.
    """
    from cli.base_report import make_check_lines, make_trial_lines, to_json
    from cli.output import print_json, print_line
    from components.serving.engine.memory import ServingLoad, estimate_serving_memory
    from components.stages.base_check.check import check_base, choose_base, read_params
    from components.stages.base_check.sizes import choose_sizes
    from components.stages.base_check.trial import try_base
    from components.training.memory_estimate import TrainingLoad, estimate_training_memory

    changes = {"revision": revision, "dtype": dtype, "quantize": quantize, "chat_template": chat_template}
    params, config = read_params(ctx.obj), choose_base(ctx.obj, path, changes)
    checked = check_base(config)
    sizes = choose_sizes(
        checked.base,
        params,
        prefix_length=prefix_length,
        batch_size=batch,
        rows=rows,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        tenants=tenants,
    )
    lengths = {
        "tenants": sizes.tenants,
        "prefix_length": sizes.prefix_length,
        "input_tokens": sizes.input_tokens,
        "output_tokens": sizes.output_tokens,
    }
    training_load = TrainingLoad(batch_size=sizes.batch_size, pass_tokens=sizes.pass_tokens, **lengths)
    training = estimate_training_memory(checked.base, training_load)
    serving_load = ServingLoad(rows=sizes.rows, step_tokens=sizes.step_tokens, **lengths)
    serving = estimate_serving_memory(checked.base, serving_load)
    if not as_json:
        for line in make_check_lines(checked, training_load, training, serving_load, serving):
            print_line(line)
    tried = try_base(checked.base, sizes.prefix_length, seconds) if trial else None
    if as_json:
        print_json(to_json(checked, training_load, training, serving_load, serving, tried), indent=2)
    elif tried is not None:
        for line in make_trial_lines(tried):
            print_line(line)


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
    print_line(f"wrote {target}; `prefixfleet base check {target}` checks it")
