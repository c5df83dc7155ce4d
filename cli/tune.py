"""The command `tune`: search a tenant's training values and write the best ones to its override file."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import TenantArgument
from cli.stop_signals import describe_stop
from components.errors import ConfigError

if TYPE_CHECKING:
    from components.stages.tuning.request import TuningResult
    from components.stages.tuning.study import TrialRecord


class TuneMetric(StrEnum):
    """Metrics that trials can be compared by."""

    validation_loss = "validation-loss"
    bleu = "bleu"
    chrf = "chrf"
    ter = "ter"
    rouge1 = "rouge1"
    rouge2 = "rouge2"
    rougeL = "rougeL"
    exact_match = "exact_match"
    json_valid = "json_valid"


_DEFAULT_TRIALS = 12


def tune(
    ctx: typer.Context,
    tenant: TenantArgument,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Trials of this study in all, those of earlier runs included. "
            f"Default: {_DEFAULT_TRIALS}, or no limit with --minutes."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Time limit of this run, in minutes.")] = None,
    metric: Annotated[
        TuneMetric,
        typer.Option(
            help="Metric on the validation split. All but validation-loss decode examples, as the gate's metrics do."
        ),
    ] = TuneMetric.bleu,
    examples: Annotated[int, typer.Option(help="Validation examples to decode, at most; evenly spaced.")] = 64,
    lengths: Annotated[str | None, typer.Option(help="Prefix lengths to try. Default: 1,5,10,20.")] = None,
    learning_rates: Annotated[
        str | None, typer.Option(help="Range LOW..HIGH, sampled log-uniformly. Default: by method.")
    ] = None,
    init_texts: Annotated[
        list[str] | None,
        typer.Option(
            help="A phrase to initialize the prefix from, in addition to the tenant's own words and random values. "
            "May be repeated."
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="For other methods: layers (top-k), bottleneck sizes, LoRA ranks or demonstrations to try."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Optimizer steps of a trial. Few steps favour high learning rates. Default: the tenant's max_steps."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")] = False,
) -> None:
    """Search a tenant's prefix length, learning rate and start; write the best to overrides/TENANT.yaml.

    The score of a prefix depends strongly on these values. The current ones are tried first; nothing is written unless
    a trial beats them on the validation split. Values in overrides/TENANT.yaml win over params.yaml; remove the file to
    go back. Trials with poor losses are stopped early.

    The study is kept in var/tune/TENANT. After Ctrl-C or a kill the same command continues it; a higher --trials
    extends it. Other data, values or ranges start a new study.
    """
    from cli.messages import show_progress
    from cli.output import print_note
    from components.stages.tuning.request import TuneRequest
    from components.stages.tuning.search_space import SearchOptions
    from components.stages.tuning.tune import tune as search
    from components.stages.workspace import Workspace

    request = TuneRequest(
        tenant=tenant,
        trials=_DEFAULT_TRIALS if trials is None and minutes is None else trials,
        minutes=minutes,
        metric=metric.value,
        examples=examples,
        options=SearchOptions(
            lengths=_parse_numbers("--lengths", lengths),
            rates=_parse_range("--learning-rates", learning_rates),
            init_texts=tuple(dict.fromkeys(init_texts or ())),
            sizes=_parse_numbers("--sizes", sizes),
        ),
        steps=steps,
        dry_run=dry_run,
    )
    workspace = Workspace(ctx.obj)
    try:
        with show_progress(), workspace.lock():
            tuned = search(workspace, request)
    except KeyboardInterrupt as stop:
        cause, code = describe_stop(stop)
        line = f"stopped by {cause}; nothing was written, and the same command continues the study in var/tune/{tenant}"
        print_note(line)
        raise typer.Exit(code) from None
    _print_result(tenant, tuned)


def _print_result(tenant: str, tuned: "TuningResult") -> None:
    from cli.output import print_line, print_table
    from components.config.overrides import OVERRIDES_FOLDER
    from components.stages.tuning.overrides import format_override
    from components.stages.tuning.trial import label_metric

    notes = {trial.number: _make_note(trial, tuned) for trial in tuned.trials}
    name = label_metric(tuned.metric)
    print_table(
        f"Trials of {tenant}",
        ("trial", name, *tuned.space.dimensions, "steps", "seconds", ""),
        [
            (
                str(trial.number + 1),
                tuned.format_score(trial),
                *(tuned.space.format_fields(trial.fields) if trial.fields else "-" * len(tuned.space.dimensions)),
                str(trial.steps),
                f"{trial.seconds:.1f}",
                notes[trial.number],
            )
            for trial in tuned.trials
        ],
    )
    current = tuned.format_score(tuned.current_trial) if tuned.current_trial else ""
    file = f"{OVERRIDES_FOLDER}/{tenant}.yaml"
    lines = []
    if tuned.values and tuned.best_trial is not None:
        verb = "written to" if tuned.is_written else "dry run, not written to"
        lines += [
            f"{verb} {file}, which wins over params.yaml: {format_override(tuned.values)}",
            f"{name} {tuned.format_score(tuned.best_trial)}; with the current values {current}",
        ]
    elif not current:
        lines.append("nothing written: the current values are not measured yet; run the same command again")
    else:
        lines.append(f"nothing written: no trial beats the current values' {name} {current}")
    if tuned.is_written:
        lines.append(f"next: prefixfleet retrain --tenant {tenant}")
    for line in lines:
        print_line(line)


def _make_note(trial: "TrialRecord", tuned: "TuningResult") -> str:
    parts = []
    if tuned.current_trial and trial.number == tuned.current_trial.number:
        parts.append("current")
    if tuned.values and tuned.best_trial and trial.number == tuned.best_trial.number:
        parts.append("winner")
    if trial.state == "pruned":
        parts.append("stopped early" if trial.loss is None else f"stopped early at validation loss {trial.loss:.3f}")
    elif trial.state != "complete":
        parts.append(f"failed: {trial.reason}" if trial.state == "failed" else "unfinished")
    return ", ".join(parts)


def _parse_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.lstrip("-").isdigit() for part in parts):
        raise ConfigError(f"whole numbers separated by commas for {option}", repr(text), "write them as 1,5,10")
    return tuple(map(int, parts))


def _parse_range(option: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(".."))
    except ValueError:
        raise ConfigError(f"LOW..HIGH for {option}", repr(text), "write two numbers, as 0.05..0.5") from None
    return low, high
