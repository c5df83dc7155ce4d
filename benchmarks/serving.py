"""Serving many tenants at once: PrefixFleet's engine beside `peft` switched for each request and a batch a tenant.

    python benchmarks/serving.py [--quick | --full] [--tenants 1 8 32 128 1000] [--base FOLDER] [--dtype float32]

Of every tenant `--each` requests are in flight, each answered greedily; answers are as long as E2E's targets, unless
the base ends them before. Ours is asked for at least `--requests` in all; the others answer `--sample` of them, since
theirs is a time each, from which their clients' waiting is counted. `ours, one tenant` has the same requests and all of
one tenant: what different prefixes cost. `--http` adds a real server with its registry. In float32 all sides must give
the same texts.

Then swaps: new versions that are not loaded, called while 32 tenants are answered, in turns with the same without. Then
memory: `--registered` artifacts, room for `--resident` of them, and a fifth more asked than that.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from contenders import machine_rates, serving, version_swaps
from contenders.http_serving import run_over_http
from contenders.serving import LoadAnswers, LoadLevel
from harness.alternating_runs import Contender, ContenderResult, run_in_turns
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import SHAPES
from harness.request_load import RequestLoad, write_artifacts
from harness.training_examples import count_tokens, draw_examples
from harness.weight_scaling import rewrite_base, sharpen_logits
from harness.workspaces import make_tenant_ids

from components.config import BaseConfig
from components.model.base.load import load_base

OURS, ALONE, HTTP, BATCHES, PEFT = "ours", "ours, one tenant", "ours, HTTP", "a batch a tenant", "peft, switched"
SMALL_PRESET = {"shape": ["tiny"], "requests": 16, "sample": 4, "rounds": 1, "rows": 8, "swaps": 2}
PRESETS = {
    "quick": {**SMALL_PRESET, "tenants": [1, 5], "registered": 30, "resident": 10},
    "default": {**SMALL_PRESET, "shape": ["small"], "tenants": [1, 8], "registered": 200, "resident": 50, "rows": 32},
    "full": {
        **{"shape": ["small"], "tenants": [1, 8, 32, 128, 1000], "requests": 256, "sample": 24, "rounds": 3},
        **{"rows": 64, "swaps": 30, "registered": 10_000, "resident": 1000},
    },
}
_TEXT_COUNT = 256
_MAX_SWAP_TENANTS = 32
"""Tenants that are answered during swaps, at most."""


def main() -> None:
    """Measure on every base, in every dtype."""
    made = make_parser(str(__doc__))
    made.add_argument("--tenants", type=int, nargs="+", help="numbers of distinct tenants in flight")
    made.add_argument("--each", type=int, default=1, help="requests of a tenant in flight")
    made.add_argument("--requests", type=int, help="that ours answers at least")
    made.add_argument("--sample", type=int, help="requests that the others answer")
    made.add_argument("--rows", type=int, help="rows that PrefixFleet computes in one step")
    made.add_argument("--http", action="store_true", help="ask a `prefixfleet serve` too")
    made.add_argument("--swaps", type=int, help="new versions; 0: none of this part")
    made.add_argument("--registered", type=int, help="artifacts; 0: none of this part")
    made.add_argument("--resident", type=int, help="artifacts that there is memory for")
    made.add_argument("--dtype", nargs="+", choices=list(machine_rates.DTYPES), default=["float32"])
    options = fill_options(made.parse_args(), PRESETS)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a side that waits for its turn must not spin
    with make_bases(options) as folders:
        for folder in folders:
            is_shaped = folder.name in {f"gpt2-{shape}" for shape in SHAPES}
            if is_shaped:
                rewrite_base(folder, sharpen_logits)
            for dtype in options.dtype:
                with tempfile.TemporaryDirectory() as store:
                    _measure(folder, dtype, Path(store), options, numbers=is_shaped and options.data is None)


def _measure(folder: Path, dtype: str, store: Path, options: argparse.Namespace, *, numbers: bool) -> None:
    examples = draw_examples(options.data, _TEXT_COUNT, numbers=numbers)
    limits = [target for _, target in count_tokens(folder, examples)]
    base = load_base(BaseConfig(path=str(folder)))
    tenants = min(_MAX_SWAP_TENANTS, max(options.tenants))
    artifacts = write_artifacts(store, base, make_tenant_ids(max(options.tenants)), options.prefix_length)
    news = write_artifacts(
        store, base, [make_tenant_ids(tenants)[number % tenants] for number in range(options.swaps)], 5, seed=1
    )
    load = RequestLoad(folder, dtype, store, artifacts, [one.source for one in examples], limits, options.rows)
    print(
        f"\n{folder.name} in {dtype} on a {machine_rates.describe_device()}, load average {os.getloadavg()[0]:.1f}: ",
        end="",
    )
    print(
        f"prefixes of {options.prefix_length}, answers of {sum(limits) / len(limits):.1f} tokens, {options.rows} rows"
    )
    _compare_contenders(load, options)
    if news:
        _measure_swaps(load, news, tenants, options)
    if options.registered:
        arguments = (load, options.prefix_length, options.registered, min(options.resident, options.registered))
        _print_residency(
            run_in_turns({"memory": Contender(version_swaps.measure_residency, arguments, 1)})["memory"],
            options.registered,
        )


def _compare_contenders(load: RequestLoad, options: argparse.Namespace) -> None:
    parts = []
    for tenants in options.tenants:
        flying = tenants * options.each
        parts.append(LoadLevel(tenants, options.each, -(-max(options.requests, flying) // flying) * flying))
    turns = options.rounds * len(parts)
    sides = {
        OURS: Contender(serving.run_prefixfleet, (load, parts, options.rounds, False), turns),
        ALONE: Contender(serving.run_prefixfleet, (load, parts, options.rounds, True), turns),
        BATCHES: Contender(serving.run_batch_per_tenant, (load, parts, options.rounds, options.sample), turns),
        PEFT: Contender(serving.run_peft_switched, (load, parts, options.rounds, options.sample), turns),
    }
    if options.http:
        sides[HTTP] = Contender(run_over_http, (load, parts, options.rounds), turns)
    outcomes = run_in_turns(sides)
    print(
        f"\n{'tenants':>7} {'side':18} {'tokens/s':>22} {'p50':>8} {'p95':>8} {'p99':>8} s  {'first p50':>9}  ours / it"
    )
    for place, part in enumerate(parts):
        mine: list[LoadAnswers] = outcomes[OURS].facts["found"][place :: len(parts)]
        for side, outcome in outcomes.items():
            theirs: list[LoadAnswers] = outcome.facts["found"][place :: len(parts)]
            ratios = [_compute_rate(our) / _compute_rate(their) for our, their in zip(mine, theirs, strict=True)]
            rates = format_spread([_compute_rate(one) for one in theirs], ",.0f")
            figures = f"{rates:>22} {_format_percentiles([one.waits for one in theirs])}"
            first = median(second for one in theirs for second in one.firsts)
            print(f"{part.tenants:7,} {side:18} {figures} s  {first:9.3f}  {format_spread(ratios)}")
            if side != ALONE and load.dtype == "float32":
                _check_same_texts(side, mine[0], theirs[0])
    peaks = ", ".join(f"{side} {outcome.peak_bytes / 1e6:,.0f} MB" for side, outcome in outcomes.items())
    print(f"peak memory: {peaks}")


def _check_same_texts(side: str, mine: LoadAnswers, theirs: LoadAnswers) -> None:
    other = [number for number, text in theirs.texts.items() if mine.texts[number] != text]
    if other:
        raise SystemExit(f"{side} and {OURS} must give the same texts: {len(other)} of {len(theirs.texts)} differ")


def _measure_swaps(load: RequestLoad, news: Sequence[object], tenants: int, options: argparse.Namespace) -> None:
    count = max(options.requests, 4 * tenants)
    side = Contender(version_swaps.run_swaps, (load, news, tenants, count, options.rounds), 2 * options.rounds)
    found = run_in_turns({"swaps": side})["swaps"].facts["found"]
    still, moved = found[::2], found[1::2]
    loads, firsts = ([1e3 * one for part in moved for one in part[place]] for place in (2, 3))
    usual = 1e3 * median(one for part in still for one in part[1])
    print(f"\n{len(loads)} swaps under {tenants} tenants, {count} requests a turn")
    print(f"from the call to resident: {format_spread(loads, '.1f')} ms")
    print(f"to the first piece under it: {format_spread(firsts, '.1f')} ms; of any answer {usual:.1f} ms")
    for name, parts in (("without", still), ("with", moved)):
        print(f"{name:>8} swaps, p50, p95, p99 of all turns: {_format_percentiles([part[0] for part in parts])} s")


def _print_residency(outcome: ContenderResult, registered: int) -> None:
    facts = outcome.facts
    grown = facts["after"] - facts["known"]
    print(
        f"\n{registered:,} registered, {facts['asked']:,} asked in {outcome.part_seconds[0]:.1f} s: "
        f"{facts['device']:,} are "
        f"resident in {facts['used'] / 1e6:,.0f} MB ({facts['size'] / 1e3:,.0f} kB each); the process has grown by "
        f"{grown / 1e6:,.0f} MB to {facts['after'] / 1e6:,.0f} MB"
    )


def _compute_rate(answers: LoadAnswers) -> float:
    return answers.tokens / answers.seconds


def _format_percentiles(rounds: Sequence[Sequence[float]]) -> str:
    """Percentiles of all rounds together."""
    seconds = [one for part in rounds for one in part]
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return " ".join(f"{cuts[cut - 1]:8.3f}" for cut in (50, 95, 99))


if __name__ == "__main__":
    main()
