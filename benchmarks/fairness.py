"""Whether one tenant's flood of requests delays others: their waiting times without it, with it, and in one queue.

    python benchmarks/fairness.py [--quick | --full] [--flood 128] [--others 4] [--base FOLDER]

Some tenants send one request at a time each, while one tenant keeps `--flood` requests in flight, more than there are
rows. It is compared with one queue for all requests, first come, first served, as in the continuous batching of vLLM
and transformers: the same engine, with all requests under one tenant's name. Quotas are not used.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from contenders.flooding import FloodResult, run_flood
from harness.alternating_runs import Contender, run_alternately
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import SHAPES
from harness.request_load import RequestLoad, write_artifacts
from harness.training_examples import count_tokens, draw_examples
from harness.weight_scaling import rewrite_base, sharpen_logits
from harness.workspaces import make_tenant_ids

from components.config import BaseConfig
from components.model.base.load import load_base

FAIR, FIRST_COME = "PrefixFleet", "first come, first served"
PRESETS = {
    "quick": {"shape": ["tiny"], "flood": 12, "others": 2, "rows": 4, "requests": 3, "rounds": 1},
    "default": {"shape": ["small"], "flood": 64, "others": 4, "rows": 16, "requests": 4, "rounds": 1},
    "full": {"shape": ["small"], "flood": 256, "others": 8, "rows": 32, "requests": 16, "rounds": 3},
}
_TEXT_COUNT = 256


def main() -> None:
    """Measure on every base."""
    parser = make_parser(str(__doc__))
    parser.add_argument("--flood", type=int, help="requests in flight of the flooding tenant")
    parser.add_argument("--others", type=int, help="tenants that send one request at a time")
    parser.add_argument("--requests", type=int, help="requests that each of them sends in a round")
    parser.add_argument("--rows", type=int, help="rows that the engine computes in one step")
    options = fill_options(parser.parse_args(), PRESETS)
    with make_bases(options) as folders:
        for folder in folders:
            is_shaped = folder.name in {f"gpt2-{shape}" for shape in SHAPES}
            if is_shaped:
                rewrite_base(folder, sharpen_logits)
            with tempfile.TemporaryDirectory() as store:
                _measure(folder, Path(store), options, numbers=is_shaped and options.data is None)


def _measure(folder: Path, store: Path, options: argparse.Namespace, *, numbers: bool) -> None:
    examples = draw_examples(options.data, _TEXT_COUNT, numbers=numbers)
    limits = [target for _, target in count_tokens(folder, examples)]
    base, tenants = load_base(BaseConfig(path=str(folder))), options.others + 1
    contenders = {}
    for name, floods, owners in (
        (FAIR, (0, options.flood), make_tenant_ids(tenants)),
        (FIRST_COME, (options.flood,), ["everyone"] * tenants),
    ):
        artifacts = write_artifacts(store, base, owners, options.prefix_length)
        load = RequestLoad(folder, "float32", store, artifacts, [one.source for one in examples], limits, options.rows)
        arguments = (load, tenants, options.requests, floods, options.rounds)
        contenders[name] = Contender(run_flood, arguments, len(floods) * options.rounds)
    outcomes = run_alternately(contenders)
    alone, fair = outcomes[FAIR].facts["results"][::2], outcomes[FAIR].facts["results"][1::2]
    first_come = outcomes[FIRST_COME].facts["results"]
    print(f"\n{folder.name}: {options.others} tenants send one request at a time, one keeps {options.flood} in flight")
    print(f"\n{'waiting of the others':40}{'p50':>8} {'p95':>8} {'p99':>8} s {'first p50':>10} s {'flood':>9} tokens/s")
    for name, results in (
        ("without the flood", alone),
        (f"{FAIR}, with the flood", fair),
        (f"{FIRST_COME}, with the flood", first_come),
    ):
        tokens, seconds = (sum(getattr(one, field) for one in results) for field in ("tokens", "seconds"))
        waits, firsts = (_compute_percentiles(results, field) for field in ("waits", "firsts"))
        percentiles = " ".join(f"{second:8.3f}" for second in waits)
        print(f"{name:40}{percentiles} s {firsts[0]:10.3f} s {tokens / seconds:9,.0f} tokens/s")
    ratios = [
        _compute_median_wait(theirs) / _compute_median_wait(ours) for theirs, ours in zip(first_come, fair, strict=True)
    ]
    print(f"median waiting time, {FIRST_COME} / {FAIR}: {format_spread(ratios)} x")
    ratios = [
        _compute_median_wait(flooded) / _compute_median_wait(quiet) for flooded, quiet in zip(fair, alone, strict=True)
    ]
    print(f"median waiting time, with the flood / without it: {format_spread(ratios)} x")


def _compute_percentiles(results: Sequence[FloodResult], field: str) -> list[float]:
    """Return the percentiles 50, 95 and 99 of all rounds together."""
    cuts = quantiles([second for one in results for second in getattr(one, field)], n=100, method="inclusive")
    return [cuts[cut - 1] for cut in (50, 95, 99)]


def _compute_median_wait(result: FloodResult) -> float:
    return _compute_percentiles([result], "waits")[0]


if __name__ == "__main__":
    main()
