"""Decoding with beams: PrefixFleet compared with `peft`'s batched generate and with one input at a time.

    python benchmarks/decoding.py [--quick | --full] [--inputs 630] [--tenants 1 32] [--data FOLDER] [--dtype ...]

Inputs are those of E2E's test split. The end of each row is forced at the same length for every contender: see
`contenders.decoding`. Each contender has its own process and decodes all inputs once in each round, alternately; one
input at a time decodes `--single` of them, evenly spaced, and is compared by the time per input. `peft` decodes the
inputs of one tenant sorted by length, in batches of every size in `--peft-rows`; the best size counts. In float32 all
contenders must give the same tokens.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from contenders import decoding, machine_rates
from harness.alternating_runs import Contender, ContenderResult, run_alternately
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import SHAPES, BaseSizes, read_base_sizes
from harness.results import Result, append_results, find_peer_ratio

OURS, SINGLE, PEFT, MACHINE = "PrefixFleet", "one at a time", "peft", "machine"
PRESETS = {
    "quick": {"shape": ["tiny"], "inputs": 12, "tenants": [1, 3], "single": 3, "peft_rows": [4], "rounds": 1},
    "default": {"shape": ["small"], "inputs": 64, "tenants": [1, 4], "single": 8, "peft_rows": [16], "rounds": 1},
    "full": {"shape": ["small"], "inputs": 630, "tenants": [1, 32], "single": 32, "peft_rows": [16, 64], "rounds": 3},
}


def main() -> None:
    """Measure on every base, for every number of tenants and every dtype."""
    parser = make_parser(str(__doc__))
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--tenants", type=int, nargs="+", help="numbers of tenants among which the inputs are divided")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--rows", type=int, default=64, help="rows in a batch of PrefixFleet")
    parser.add_argument("--peft-rows", type=int, nargs="+", help="sizes of peft's batches")
    parser.add_argument("--single", type=int, help="number of inputs that are decoded one at a time")
    parser.add_argument("--dtype", nargs="+", choices=list(machine_rates.DTYPES), default=["float32", "bfloat16"])
    options = fill_options(parser.parse_args(), PRESETS)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a process that waits must not use the processor
    with make_bases(options) as folders:
        for folder in folders:
            for tenants in options.tenants:
                _measure(folder, tenants, options)


def _measure(folder: Path, tenants: int, options: argparse.Namespace) -> None:
    sources, lengths = decoding.make_inputs(folder, options.data, options.inputs)
    owners = [row % tenants for row in range(options.inputs)]
    shaped = folder.name in {f"gpt2-{shape}" for shape in SHAPES}
    task = decoding.DecodingTask(folder, shaped, sources, lengths, owners, options.prefix_length, options.beams)
    chosen = [number * options.inputs // options.single for number in range(options.single)]
    contenders: dict[str, Contender] = {}
    for dtype in options.dtype:
        common = (task, dtype)
        contenders[f"{OURS} {dtype}"] = Contender(
            decoding.run_prefixfleet, (*common, options.rows, options.rounds), options.rounds
        )
        for rows in options.peft_rows:
            name = f"{PEFT} {dtype} x {rows}"
            contenders[name] = Contender(decoding.run_peft_batched, (*common, rows, options.rounds), options.rounds)
        if tenants == 1:
            name = f"{SINGLE} {dtype}"
            contenders[name] = Contender(decoding.run_one_at_a_time, (*common, chosen, options.rounds), options.rounds)
    sizes = read_base_sizes(folder)
    rates_of = Contender(
        machine_rates.measure_rates, (sizes.matrices, options.rows * options.beams, options.rounds), options.rounds
    )
    outcomes = run_alternately({**contenders, MACHINE: rates_of})
    rates = outcomes.pop(MACHINE).facts
    print(
        f"\n{folder.name}: {options.inputs} inputs of {tenants} tenants, beam {options.beams}, prefix of "
        f"{options.prefix_length}; {'E2E' if options.data else 'lengths of E2E'}: sources of "
        f"{sum(map(len, sources)) / len(sources):.1f} tokens, ends forced after {sum(lengths) / len(lengths):.1f} "
        f"({min(lengths)} to {max(lengths)})\nthe {machine_rates.describe_device()} in the same run: "
        + ", ".join(f"{name} {rates[name] / 1e9:,.0f} GFLOP/s" for name in options.dtype)
    )
    for dtype in options.dtype:
        _print_table({name: one for name, one in outcomes.items() if dtype in name}, task, sizes, rates[dtype])
    _print_best(outcomes)
    part = f"decoding, {folder.name}, {tenants} tenants, beam {options.beams}"
    append_results(options.results, _make_results(part, outcomes, task, sizes, options))


def _make_results(
    part: str, outcomes: dict[str, ContenderResult], task: decoding.DecodingTask, sizes: BaseSizes, options: Any
) -> Iterator[Result]:
    """Yield a result for each contender; the steps are those of full batches."""
    for dtype in options.dtype:
        named = {name: one for name, one in outcomes.items() if dtype in name}
        peers = [_compute_seconds_per_input(one) for name, one in named.items() if name.startswith(PEFT)]
        for name, outcome in named.items():
            per_input = _compute_seconds_per_input(outcome)
            seconds = median(per_input) * len(task.sources)
            rows = options.rows if name.startswith(OURS) else 1 if name.startswith(SINGLE) else options.peft_rows[0]
            steps = -(-len(task.sources) // rows) * max(task.lengths) if rows > 1 else sum(task.lengths)
            yield Result(
                part=part,
                contender=name.replace(f" {dtype}", ""),
                dtype=dtype,
                tokens_per_s=sum(task.lengths) / seconds,
                peer_ratio=find_peer_ratio(per_input, peers),
                operations_per_s=_count_operations(task, sizes) / seconds,
                bytes_per_s=steps * sizes.count_weight_bytes(dtype) / seconds,
                peak_bytes=outcome.peak_bytes,
            )


def _print_table(
    outcomes: dict[str, ContenderResult], task: decoding.DecodingTask, sizes: BaseSizes, ceiling: float
) -> None:
    """Print a line for each contender; `rate` is its rate of necessary operations over the machine's best rate."""
    ours = next(name for name in outcomes if name.startswith(OURS))
    tokens = outcomes[ours].facts["outputs"]
    exact = ours.endswith("float32")
    print(f"\n{'contender':28} {'ms per input':>24} {'rate':>5} {'peak MB':>8} {'same tokens as PrefixFleet':>27}")
    for name, outcome in outcomes.items():
        theirs = outcome.facts["outputs"]
        same = sum(ids == tokens[row] for row, ids in theirs.items())
        per_input = [1e3 * seconds / len(theirs) for seconds in outcome.part_seconds]
        share = _count_operations(task, sizes) / len(task.sources) / (median(per_input) / 1e3) / ceiling
        figures = f"{format_spread(per_input, ',.0f'):>24} {share:5.0%} {outcome.peak_bytes / 1e6:8,.0f}"
        print(f"{name:28} {figures} {f'{same} of {len(theirs)}':>27}")
        if exact and same < len(theirs):
            raise SystemExit(f"{name} and {ours} must give the same tokens")
    for name in outcomes:
        if name != ours:
            print(f"{ours} / {name}: {format_spread(_compute_speedups(outcomes[name], outcomes[ours]))} x as fast")


def _print_best(outcomes: dict[str, ContenderResult]) -> None:
    """Compare the best setting of PrefixFleet with the best setting of each other contender."""
    ours = min(
        (name for name in outcomes if name.startswith(OURS)),
        key=lambda name: median(_compute_seconds_per_input(outcomes[name])),
    )
    for kind in (PEFT, SINGLE):
        of_kind = [name for name in outcomes if name.startswith(kind)]
        if of_kind:
            peer = min(of_kind, key=lambda name: median(_compute_seconds_per_input(outcomes[name])))
            print(
                f"best of each: {ours} / {peer}: "
                f"{format_spread(_compute_speedups(outcomes[peer], outcomes[ours]))} x as fast"
            )


def _compute_seconds_per_input(outcome: ContenderResult) -> Sequence[float]:
    return [seconds / len(outcome.facts["outputs"]) for seconds in outcome.part_seconds]


def _compute_speedups(theirs: ContenderResult, ours: ContenderResult) -> list[float]:
    return [
        their / our
        for their, our in zip(_compute_seconds_per_input(theirs), _compute_seconds_per_input(ours), strict=True)
    ]


def _count_operations(task: decoding.DecodingTask, sizes: BaseSizes) -> float:
    read, written = sum(map(len, task.sources)), sum(task.lengths)
    return sizes.count_decoding_operations(len(task.sources), read, written, task.beams)


if __name__ == "__main__":
    main()
