"""Does one tenant's flood starve others? Their waiting without it, under it, and where the first come are served first.

    python benchmarks/fairness.py [--quick | --full] [--flood 128] [--others 4] [--base FOLDER]

A few tenants ask one request at a time each, while one keeps `--flood` in flight, more than there are rows. The peer is
one queue for all, first come, first served, as vLLM's and transformers' continuous batching have it: the same engine,
to which all requests are one tenant's. Nothing of a caller's quota is used.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from contenders.flooding import FloodResult, run_flood
from harness.alternating_runs import Contender, run_in_turns
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import SHAPES
from harness.request_load import RequestLoad, write_artifacts
from harness.training_examples import count_tokens, draw_examples
from harness.weight_scaling import rewrite_base, sharpen_logits
from harness.workspaces import make_tenant_ids

from components.config import BaseConfig
from components.model.base.load import load_base

FAIR, FIRST_COME = "ours", "first come, first served"
PRESETS = {
    "quick": {"shape": ["tiny"], "flood": 12, "others": 2, "rows": 4, "requests": 3, "rounds": 1},
    "default": {"shape": ["small"], "flood": 64, "others": 4, "rows": 16, "requests": 4, "rounds": 1},
    "full": {"shape": ["small"], "flood": 256, "others": 8, "rows": 32, "requests": 16, "rounds": 3},
}
_TEXT_COUNT = 256


def main() -> None:
    """Measure on every base."""
    made = make_parser(str(__doc__))
    made.add_argument("--flood", type=int, help="requests of one tenant in flight")
    made.add_argument("--others", type=int, help="tenants that ask one request at a time")
    made.add_argument("--requests", type=int, help="that each of them asks in a round")
    made.add_argument("--rows", type=int, help="rows that are computed in one step")
    options = fill_options(made.parse_args(), PRESETS)
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
    sides = {}
    for name, floods, owners in (
        (FAIR, (0, options.flood), make_tenant_ids(tenants)),
        (FIRST_COME, (options.flood,), ["everyone"] * tenants),
    ):
        artifacts = write_artifacts(store, base, owners, options.prefix_length)
        load = RequestLoad(folder, "float32", store, artifacts, [one.source for one in examples], limits, options.rows)
        arguments = (load, tenants, options.requests, floods, options.rounds)
        sides[name] = Contender(run_flood, arguments, len(floods) * options.rounds)
    outcomes = run_in_turns(sides)
    alone, fair = (outcomes[FAIR].facts["found"][place::2] for place in (0, 1))
    first_come = outcomes[FIRST_COME].facts["found"]
    print(f"\n{folder.name}: {options.others} tenants ask one request at a time, one keeps {options.flood} in flight")
    print(f"\n{'waits of the others':40}{'p50':>8} {'p95':>8} {'p99':>8} s {'first p50':>10} s {'flood':>9} tokens/s")
    for name, crowds in (
        ("without the flood", alone),
        (f"{FAIR}, under it", fair),
        (f"{FIRST_COME}, under it", first_come),
    ):
        tokens, seconds = (sum(getattr(one, part) for one in crowds) for part in ("tokens", "seconds"))
        waits, firsts = (_compute_percentiles(crowds, part) for part in ("waits", "firsts"))
        found = " ".join(f"{second:8.3f}" for second in waits)
        print(f"{name:40}{found} s {firsts[0]:10.3f} s {tokens / seconds:9,.0f} tokens/s")
    ratios = [
        _compute_median_wait(theirs) / _compute_median_wait(mine) for theirs, mine in zip(first_come, fair, strict=True)
    ]
    print(f"an answer waits {format_spread(ratios)} x as long where the first come are served first")
    ratios = [
        _compute_median_wait(mine) / _compute_median_wait(before) for mine, before in zip(fair, alone, strict=True)
    ]
    print(f"an answer waits {format_spread(ratios)} x as long under the flood as without it")


def _compute_percentiles(crowds: Sequence[FloodResult], part: str) -> list[float]:
    """Percentiles 50, 95 and 99 of all rounds together."""
    cuts = quantiles([second for one in crowds for second in getattr(one, part)], n=100, method="inclusive")
    return [cuts[cut - 1] for cut in (50, 95, 99)]


def _compute_median_wait(crowd: FloodResult) -> float:
    return _compute_percentiles([crowd], "waits")[0]


if __name__ == "__main__":
    main()
