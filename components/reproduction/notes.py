"""The text around a table: how it was measured, what its intervals are over, what is missing. Does no I/O."""

from collections.abc import Sequence

from components.evaluation.suites import SUITE_METRIC_LABELS, find_unavailable_metrics
from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.gather import TableLine
from components.reproduction.published import BEST_PREFIX_LENGTHS, find_published

_INTERVAL_SOURCE_LABELS = {
    "samples": "low-data samples",
    "seeds": "training seeds",
    "inputs": "test inputs (bootstrap; a single run)",
}


def describe_setup(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> str:
    """Describe base, data, budget, seeds and machine in two sentences."""
    request, base, data = outcome.request, outcome.base, outcome.data
    budget = "the epochs of the preset" if request.budget is None else f"at most {request.budget:,} steps a run"
    seeds = f"training seed{'s' if len(request.seeds) > 1 else ''} {', '.join(map(str, request.seeds))}"
    samples = f"{request.samples} samples, " if request.experiment.low_data else ""
    inputs = len(data.select_test_inputs(request.inputs))
    machines = sorted(
        {
            outcome.results[cell.key].machine
            for line in lines
            for cell in line.point.cells
            if cell.key in outcome.results
        }
    )
    decoding = lines[0].point.cells[0].decoding
    return (
        f"Base {base.name} ({base.parameters:,} parameters), data {data.name} ({data.kind}, "
        f"{data.training_pair_count:,} training "
        f"pairs), {inputs:,} of {len(data.test):,} test inputs, beam {decoding.num_beams}; preset `{request.preset}`, "
        f"{budget}, {samples}{seeds}. Measured on {'; '.join(machines)}."
    )


def make_notes(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> list[str]:
    """Write notes on intervals, variants of metrics, costs and data, and on missing and failed results."""
    over = [
        name for name in _INTERVAL_SOURCE_LABELS if any(score.over == name for line in lines for score in line.scores)
    ]
    notes = (
        [f"Intervals in brackets are 95 % over {', or '.join(_INTERVAL_SOURCE_LABELS[name] for name in over)}."]
        if over
        else []
    )
    variants: dict[str, dict[str, None]] = {}
    for value in (value for result in outcome.results.values() for value in result.values):
        variants.setdefault(value.variant, {})[value.metric] = None
    notes += [
        f"{', '.join(SUITE_METRIC_LABELS[one] for one in own)}: {variant}."
        for variant, own in variants.items()
        if variant
    ]
    computed = {metric for own in variants.values() for metric in own}
    notes += [
        f"{SUITE_METRIC_LABELS[one.metric]} is missing: {one.why}; fix: {one.fix}."
        for one in find_unavailable_metrics(outcome.data.task)
        if one.metric not in computed
    ]
    notes.append(
        "Seconds are wall time, training without loading and encoding. Memory is the peak resident set of a process "
        "that measures one result and nothing else (interpreter, libraries, base, and training or decoding): the "
        "maximum of the runs."
    )
    if outcome.request.experiment.name == "length":
        task = "summarisation" if outcome.data.task == "summarisation" else "table-to-text"
        notes.append(f"The paper's best length for {task}: {BEST_PREFIX_LENGTHS[task]}.")
    if outcome.request.experiment.name == "infix" and outcome.data.kind == "e2e":
        notes.append(f"The paper's prefix, of 5 slots: BLEU {find_published('table1 e2e', 'prefix', 'bleu')}.")
    notes += outcome.data.notes
    if outcome.missing_count:
        notes.append(f"{outcome.missing_count} results are not measured yet: run the same command again.")
    notes += [f"Failed: {label}: {why}." for label, why in outcome.failures.items()]
    return notes
