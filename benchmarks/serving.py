"""Serving many tenants at once: PrefixFleet's engine compared with `peft` and with one batch per tenant.

    python benchmarks/serving.py [--quick | --full] [--tenants 1 8 32 128 1000] [--base FOLDER] [--dtype float32]

Every tenant has `--each` requests in flight, decoded greedily; an answer has as many tokens as an E2E target, unless
the base ends it earlier. PrefixFleet answers at least `--requests` requests. The others answer `--sample` of them, from
whose times the waiting times of their clients are computed. `one tenant` has the same requests, all of one tenant: the
difference is the cost of different prefixes. `--http` adds a real server with its registry, `--vllm PYTHON` vLLM with
the plugin of integrations/vllm, from an environment of its own. All requests of vLLM are there at once and none is
streamed, so its waiting times mean nothing, and it is compared with PrefixFleet given the same. In float32 all
contenders must give the same texts.

The second part measures swaps to new versions that are not loaded, while up to 32 tenants are served, alternately with
the same requests without swaps. The third part measures memory: `--registered` artifacts, memory for `--resident` of
them, and requests for 1.2 times as many.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

from contenders import machine_rates, serving, version_swaps
from contenders.serving import LoadAnswers, LoadLevel
from contenders.vllm_serving import run_vllm
from harness.alternating_runs import Contender, ContenderResult, run_alternately
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import SHAPES, read_base_sizes
from harness.request_load import RequestLoad, write_artifacts
from harness.results import Result, append_results
from harness.training_examples import count_tokens, draw_examples
from harness.weight_scaling import rewrite_base, sharpen_logits
from harness.workspaces import make_tenant_ids

from components.config import BaseConfig
from components.model.base.load import load_base

OURS, ALONE, HTTP = "PrefixFleet", "PrefixFleet, one tenant", "PrefixFleet, HTTP"
AT_ONCE = "PrefixFleet, all at once"
BATCHES, PEFT = "a batch per tenant", "peft, adapter per request"
VLLM = "vLLM, no HTTP"
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
"""Largest number of tenants that are served during swaps."""


def main() -> None:
    """Measure on every base, in every dtype."""
    parser = make_parser(str(__doc__))
    parser.add_argument("--tenants", type=int, nargs="+", help="numbers of tenants with requests in flight")
    parser.add_argument("--each", type=int, default=1, help="requests in flight of each tenant")
    parser.add_argument("--requests", type=int, help="least number of requests that PrefixFleet answers")
    parser.add_argument("--sample", type=int, help="number of requests that the others answer")
    parser.add_argument("--rows", type=int, help="rows that PrefixFleet computes in one step")
    parser.add_argument("--http", action="store_true", help="measure a `prefixfleet serve` too")
    parser.add_argument("--vllm", metavar="PYTHON", help="measure vLLM too, with the Python of its environment")
    parser.add_argument("--swaps", type=int, help="number of new versions; 0: skip this part")
    parser.add_argument("--registered", type=int, help="number of artifacts; 0: skip this part")
    parser.add_argument("--resident", type=int, help="number of artifacts that fit into memory")
    parser.add_argument("--dtype", nargs="+", choices=list(machine_rates.DTYPES), default=["float32"])
    options = fill_options(parser.parse_args(), PRESETS)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a process that waits must not use the processor
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
    lengths = count_tokens(folder, examples)
    limits = [target for _, target in lengths]
    base = load_base(BaseConfig(path=str(folder)))
    tenants = min(_MAX_SWAP_TENANTS, max(options.tenants))
    artifacts = write_artifacts(store, base, make_tenant_ids(max(options.tenants)), options.prefix_length)
    new_versions = write_artifacts(
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
    _compare_contenders(load, options, sum(source for source, _ in lengths) / len(lengths))
    if new_versions:
        _measure_swaps(load, new_versions, tenants, options)
    if options.registered:
        arguments = (load, options.prefix_length, options.registered, min(options.resident, options.registered))
        _print_residency(
            run_alternately({"memory": Contender(version_swaps.measure_residency, arguments, 1)})["memory"],
            options.registered,
        )


def _compare_contenders(load: RequestLoad, options: argparse.Namespace, source_tokens: float) -> None:
    parts = []
    for tenants in options.tenants:
        in_flight = tenants * options.each
        parts.append(LoadLevel(tenants, options.each, -(-max(options.requests, in_flight) // in_flight) * in_flight))
    count = options.rounds * len(parts)
    contenders = {
        OURS: Contender(serving.run_prefixfleet, (load, parts, options.rounds, False), count),
        ALONE: Contender(serving.run_prefixfleet, (load, parts, options.rounds, True), count),
        BATCHES: Contender(serving.run_batch_per_tenant, (load, parts, options.rounds, options.sample), count),
        PEFT: Contender(serving.run_peft_switched, (load, parts, options.rounds, options.sample), count),
    }
    if options.http:
        from contenders.http_serving import run_over_http  # with MLflow, which the other contenders do not need

        contenders[HTTP] = Contender(run_over_http, (load, parts, options.rounds), count)
    if options.vllm:
        contenders[AT_ONCE] = Contender(serving.run_prefixfleet, (load, parts, options.rounds, False, True), count)
        arguments = (load, parts, options.rounds, options.vllm, options.prefix_length)
        contenders[VLLM] = Contender(run_vllm, arguments, count)
    outcomes = run_alternately(contenders)
    print(
        f"\n{'tenants':>7} {'contender':25} {'tokens/s':>22} {'p50':>8} {'p95':>8} {'p99':>8} s  {'first p50':>9}  "
        f"{OURS} / it"
    )
    for index, part in enumerate(parts):
        for name, outcome in outcomes.items():
            peer = outcomes[AT_ONCE if name == VLLM else OURS]
            ours: list[LoadAnswers] = peer.facts["results"][index :: len(parts)]
            theirs: list[LoadAnswers] = outcome.facts["results"][index :: len(parts)]
            ratios = [_compute_rate(our) / _compute_rate(their) for our, their in zip(ours, theirs, strict=True)]
            rates = format_spread([_compute_rate(one) for one in theirs], ",.0f")
            figures = f"{rates:>22} {_format_percentiles([one.waits for one in theirs])}"
            first = median(second for one in theirs for second in one.firsts)
            print(f"{part.tenants:7,} {name:25} {figures} s  {first:9.3f}  {format_spread(ratios)}")
            if name != ALONE and load.dtype == "float32":
                _check_same_texts(name, ours[0], theirs[0])
        rates_by_name = {
            name: median(_compute_rate(one) for one in outcome.facts["results"][index :: len(parts)])
            for name, outcome in outcomes.items()
        }
        append_results(options.results, _make_results(load, part, source_tokens, rates_by_name, outcomes))
    peaks = ", ".join(f"{name} {outcome.peak_bytes / 1e6:,.0f} MB" for name, outcome in outcomes.items())
    print(f"peak memory: {peaks}")


def _make_results(
    load: RequestLoad,
    level: LoadLevel,
    source_tokens: float,
    speeds: Mapping[str, float],
    outcomes: Mapping[str, ContenderResult],
) -> Iterator[Result]:
    """Yield a result for each contender; the steps are those of batches that are always full."""
    sizes, answer = read_base_sizes(load.folder), sum(load.max_new_tokens) / len(load.max_new_tokens)
    for name, speed in speeds.items():
        rows = {PEFT: 1, BATCHES: level.requests_per_tenant}.get(name, min(load.rows, level.in_flight))
        yield Result(
            part=f"serving, {load.folder.name}, {level.tenants} tenants",
            contender=name,
            dtype=load.dtype,
            tokens_per_s=speed,
            peer_ratio=speed / speeds[PEFT],
            operations_per_s=speed / answer * sizes.count_decoding_operations(1, source_tokens, answer),
            bytes_per_s=speed / rows * sizes.count_weight_bytes(load.dtype),
            peak_bytes=outcomes[name].peak_bytes,
        )


def _check_same_texts(name: str, ours: LoadAnswers, theirs: LoadAnswers) -> None:
    different = [number for number, text in theirs.texts.items() if ours.texts[number] != text]
    if different:
        counts = f"{len(different)} of {len(theirs.texts)} differ"
        raise SystemExit(f"{name} and {OURS} must give the same texts, but {counts}")


def _measure_swaps(
    load: RequestLoad, new_versions: Sequence[object], tenants: int, options: argparse.Namespace
) -> None:
    count = max(options.requests, 4 * tenants)
    contender = Contender(
        version_swaps.run_swaps, (load, new_versions, tenants, count, options.rounds), 2 * options.rounds
    )
    results = run_alternately({"swaps": contender})["swaps"].facts["results"]
    without, swapping = results[::2], results[1::2]
    loads, firsts = ([1e3 * one for part in swapping for one in part[field]] for field in (2, 3))
    usual = 1e3 * median(one for part in without for one in part[1])
    print(f"\n{len(loads)} swaps while {tenants} tenants are served, {count} requests in each part")
    print(f"time to load a version: {format_spread(loads, '.1f')} ms")
    print(f"time to its first piece: {format_spread(firsts, '.1f')} ms; of any answer {usual:.1f} ms")
    for name, parts in (("without", without), ("with", swapping)):
        print(
            f"waiting {name:>7} swaps, p50, p95, p99 of all parts: {_format_percentiles([part[0] for part in parts])} s"
        )


def _print_residency(outcome: ContenderResult, registered: int) -> None:
    facts = outcome.facts
    grown = facts["after_bytes"] - facts["before_bytes"]
    print(
        f"\n{registered:,} artifacts registered, {facts['requested']:,} requested in {outcome.part_seconds[0]:.1f} s: "
        f"{facts['resident']:,} are resident in {facts['used_bytes'] / 1e6:,.0f} MB "
        f"({facts['artifact_bytes'] / 1e3:,.0f} kB each); the process has grown by {grown / 1e6:,.0f} MB to "
        f"{facts['after_bytes'] / 1e6:,.0f} MB"
    )


def _compute_rate(answers: LoadAnswers) -> float:
    return answers.tokens / answers.seconds


def _format_percentiles(rounds: Sequence[Sequence[float]]) -> str:
    """Format the percentiles 50, 95 and 99 of all rounds together."""
    seconds = [one for part in rounds for one in part]
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return " ".join(f"{cuts[cut - 1]:8.3f}" for cut in (50, 95, 99))


if __name__ == "__main__":
    main()
