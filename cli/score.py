"""The command `score`: a benchmark's official metrics on the outputs of any system."""

from pathlib import Path
from typing import Annotated

import typer


def score(
    suite: Annotated[str, typer.Option(help="Benchmark: e2e, webnlg, dart or summarisation.")],
    predictions: Annotated[Path, typer.Option(help="Outputs: lines, TSV or CSV with a header, or JSON lines.")],
    references: Annotated[
        list[Path] | None,
        typer.Option(
            help="References: lines, groups of lines separated by blank lines, TSV, CSV, JSON lines, E2E's zip, or a "
            "release of WebNLG or DART. Several files: one reference set each, line by line. Default: the references "
            "in the predictions file."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this metric; may be repeated. Default: all of the benchmark.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the scores to this JSON file.")] = None,
    require_all: Annotated[
        bool, typer.Option("--require-all", help="Fail if a metric cannot be computed here, instead of leaving it out.")
    ] = False,
    column: Annotated[str | None, typer.Option(help="Column or key of the outputs.")] = None,
    reference_column: Annotated[str | None, typer.Option(help="Column or key of the references.")] = None,
    split: Annotated[str, typer.Option(help="Split, if the references are a release.")] = "test",
) -> None:
    """Score outputs as the benchmark's official script does, to compare with published tables. Needs no workspace.

    METEOR and E2E's ROUGE-L and CIDEr need Java and the extra `metrics`; without them they are left out and named.
    """
    from cli.output import print_line, print_note, print_table
    from components.evaluation.suites import SUITE_METRIC_LABELS, find_suite
    from components.stages.commands.score import score_predictions as stage
    from components.stages.commands.score import write_scores

    scored = stage(
        suite,
        predictions,
        references or (),
        metrics=metric or None,
        require_all=require_all,
        column=column,
        reference_column=reference_column,
        split=split,
    )
    benchmark = find_suite(suite)
    rows = [
        (
            SUITE_METRIC_LABELS[one.metric],
            one.slice,
            benchmark.format_value(one.metric, one.value),
            str(one.n),
            one.variant,
        )
        for one in scored.scores
    ]
    print_table(f"{suite}: {predictions}", ("metric", "slice", "value", "n", "how"), rows)
    print_line(f"{scored.n} outputs paired by {scored.aligned_by}, scored in {scored.seconds:.1f} s")
    if scored.empty_predictions:
        print_note(f"{scored.empty_predictions} empty predictions, scored as empty texts")
    if scored.left_out:
        names = ", ".join(SUITE_METRIC_LABELS[one.metric] for one in scored.left_out)
        first = scored.left_out[0]
        print_note(f"left out: {names}: {first.why}; {first.fix}")
    if json_file is not None:
        write_scores(json_file, scored)
