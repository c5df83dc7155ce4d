"""Training a fleet: N tenants on one base, one epoch each; the time from the loaded base to the last prefix.

    python benchmarks/fleet_training.py [--quick | --full] [--tenants 32] [--examples 200] [--shape small | --base ...]

`peft` trains the tenants one after the other on one base, with `Trainer`'s best setting and no validation. PrefixFleet
trains them one after the other, and all together; it validates each tenant twice on one example. Each contender has its
own process, and the runs of single tenants are timed alternately.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from contenders import peft_training, prefixfleet_training
from harness.alternating_runs import Contender, run_alternately
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import read_base_sizes
from harness.results import Result, append_results, find_peer_ratio
from harness.training_examples import count_tokens, draw_examples

from components.config import EngineConfig, TrainConfig
from components.data.schema import Example

PEFT, SOLO, TOGETHER = "peft one by one", "PrefixFleet one by one", "PrefixFleet together"
PRESETS = {
    "quick": {"shape": ["tiny"], "tenants": 2, "examples": 20, "rounds": 1},
    "default": {"shape": ["small"], "tenants": 3, "examples": 20, "rounds": 1},
    "full": {"shape": ["small"], "tenants": 32, "examples": 200, "rounds": 1},
}


def main() -> None:
    """Measure on every base and print a table for each."""
    parser = make_parser(str(__doc__))
    parser.add_argument("--tenants", type=int)
    parser.add_argument("--examples", type=int, help="examples of each tenant")
    parser.add_argument(
        "--peer", choices=peft_training.SETTINGS, default=peft_training.BEST_SETTING, help="setting of peft"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="dtype of PrefixFleet's base"
    )
    parser.add_argument("--compile", action="store_true", help="compile PrefixFleet's activation functions")
    options = fill_options(parser.parse_args(), PRESETS)
    with make_bases(options) as folders:
        for folder in folders:
            _measure(folder, options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    tenants = _draw_tenants(options)
    lengths = count_tokens(folder, [example for examples in tenants for example in examples])
    tokens, targets = sum(map(sum, lengths)), sum(target for _, target in lengths)
    steps = math.ceil(options.examples / options.batch_size)
    config = TrainConfig(
        prefix_length=options.prefix_length,
        initialization="random",
        batch_size=options.batch_size,
        max_steps=steps,
        warmup_steps=0,
        validate_every=steps,
    )
    setting, engine = peft_training.SETTINGS[options.peer], EngineConfig(compile=options.compile)
    contenders = {
        PEFT: Contender(peft_training.train_each, (folder, setting, config, tenants), options.tenants),
        SOLO: Contender(
            prefixfleet_training.train_shards,
            (folder, options.dtype, config, engine, [[one] for one in tenants]),
            options.tenants,
        ),
        TOGETHER: Contender(prefixfleet_training.train_shards, (folder, options.dtype, config, engine, [tenants]), 1),
    }
    rounds = [run_alternately(contenders) for _ in range(options.rounds)]
    seconds = {name: [sum(outcomes[name].part_seconds) for outcomes in rounds] for name in contenders}
    print(
        f"\n{folder.name}: {options.tenants} tenants of {options.examples} examples, one epoch of {steps} steps each, "
        f"{tokens:,} tokens without padding; prefix of {options.prefix_length}; peft's setting {options.peer}; "
        f"PrefixFleet in {options.dtype}; {options.rounds} rounds"
    )
    print(f"\n{'contender':24} {'seconds':>24} {'tokens/s':>14} {'peak MB':>8}")
    for name in contenders:
        peak = max(outcomes[name].peak_bytes for outcomes in rounds) / 1e6
        speed = tokens / sorted(seconds[name])[len(rounds) // 2]
        print(f"{name:24} {format_spread(seconds[name], ',.1f'):>24} {speed:14,.0f} {peak:8,.0f}")
    sizes = read_base_sizes(folder)
    step_tokens = tokens / options.tenants / steps
    passes = {TOGETHER: steps * math.ceil(options.tenants * step_tokens / engine.train_tokens)}
    for name in contenders:
        weights = setting.dtype if name == PEFT else options.dtype
        middle = sorted(seconds[name])[len(rounds) // 2]
        pass_count = passes.get(name, steps * options.tenants)
        result = Result(
            part=f"fleet of {options.tenants}, {folder.name}",
            contender=name,
            dtype="bfloat16" if name == PEFT and setting.autocast else weights,
            tokens_per_s=tokens / middle,
            peer_ratio=find_peer_ratio(seconds[name], [seconds[PEFT]]),
            operations_per_s=sizes.count_operations(targets / tokens) * tokens / middle,
            bytes_per_s=2 * pass_count * sizes.count_weight_bytes(weights) / middle,
            peak_bytes=max(outcomes[name].peak_bytes for outcomes in rounds),
        )
        append_results(options.results, [result])
    for subject, peer in ((SOLO, PEFT), (TOGETHER, PEFT), (TOGETHER, SOLO)):
        times = zip(seconds[peer], seconds[subject], strict=True)
        print(f"{subject} is {format_spread([theirs / our for theirs, our in times])} x as fast as {peer}")


def _draw_tenants(options: argparse.Namespace) -> Sequence[Sequence[Example]]:
    size = options.examples
    examples = draw_examples(options.data, options.tenants * size, numbers=not options.base)
    return [examples[start : start + size] for start in range(0, len(examples), size)]


if __name__ == "__main__":
    main()
