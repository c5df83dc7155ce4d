"""Training one tenant's prefix: PrefixFleet compared with `peft` prefix tuning under `transformers.Trainer`.

    python benchmarks/training.py [--quick | --full] [--shape small medium] [--data FOLDER] [--sides ...]

Each contender trains on the same examples in its own process. After an epoch to warm up, epochs of the contenders are
timed alternately. Tokens are counted without padding. `ours-full` is full fine-tuning of the same base in PrefixFleet.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from contenders import gradient_agreement, machine_rates, peft_training, prefixfleet_training
from harness.alternating_runs import Contender, ContenderResult, run_alternately
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.random_bases import BaseSizes, read_base_sizes
from harness.results import Result, append_results, find_peer_ratio
from harness.training_examples import BATCHES_PER_POOL, choose_epoch_indices, count_tokens, draw_examples

from components.config import EngineConfig, TrainConfig
from components.data.schema import Example

PREFIX_CONFIG = TrainConfig(learning_rate=2e-2)
OURS: dict[str, tuple[prefixfleet_training.Dtype, TrainConfig, EngineConfig]] = {
    "ours-fp32": ("float32", PREFIX_CONFIG, prefixfleet_training.DEFAULT_ENGINE),
    "ours": ("bfloat16", PREFIX_CONFIG, prefixfleet_training.DEFAULT_ENGINE),
    "ours-compiled": ("bfloat16", PREFIX_CONFIG, EngineConfig(compile=True)),
    "ours-full": ("float32", TrainConfig(learning_rate=1e-5, method="full"), prefixfleet_training.DEFAULT_ENGINE),
}
"""Contender -> dtype of the base, train config, engine config."""
MACHINE = "machine"
PRESETS = {
    "quick": {"shape": ["tiny"], "steps": 2, "rounds": 2},
    "default": {"shape": ["small"], "steps": 3, "rounds": 3},
    "full": {"shape": ["small", "medium"], "steps": 10, "rounds": 5},
}


@dataclass(frozen=True)
class EpochExamples:
    """The examples of a round, with the numbers of their tokens without padding."""

    examples: Sequence[Example]
    steps: int
    tokens: int
    targets: int


def main() -> None:
    """Measure on every base and print a table for each."""
    parser = make_parser(str(__doc__))
    parser.add_argument("--steps", type=int, help="number of steps in an epoch; a round is an epoch")
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=[*peft_training.SETTINGS, *OURS],
        default=[
            "peft",
            peft_training.BEST_SETTING,
            "peft-bf16-weights-grouped",
            "ours-fp32",
            "ours",
            "ours-compiled",
            "ours-full",
        ],
    )
    options = fill_options(parser.parse_args(), PRESETS)
    with make_bases(options) as folders:
        for folder in folders:
            _measure(folder, options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    one = _make_epoch(folder, options)
    sizes = read_base_sizes(folder)
    agreed = run_alternately(
        {
            "check": Contender(
                gradient_agreement.check_agreement, (folder, _make_config(options, PREFIX_CONFIG), one.examples), 0
            )
        }
    )["check"].facts
    contenders = {name: _make_contender(name, folder, options, one) for name in options.sides}
    tokens_a_step = one.tokens // one.steps
    contenders[MACHINE] = Contender(
        machine_rates.measure_rates, (sizes.matrices, tokens_a_step, options.rounds), options.rounds
    )
    outcomes = run_alternately(contenders)
    rates = outcomes.pop(MACHINE).facts

    share = one.targets / one.tokens
    print(
        f"\n{folder.name}: {one.steps} steps of {options.batch_size} examples an epoch, {one.tokens} tokens without "
        f"padding, {share:.0%} of them targets; prefix of {options.prefix_length}; "
        f"{'E2E' if options.data else 'E2E lengths'}\n"
        f"PrefixFleet and peft on one batch: losses {agreed['losses'][0]:.6f} and {agreed['losses'][1]:.6f} over "
        f"{agreed['targets']} targets, relative difference of the gradients {agreed['gradient']:.1e}\n"
        f"the {machine_rates.describe_device()} in the same run: float32 {rates['float32'] / 1e9:,.0f} and bfloat16 "
        f"{rates['bfloat16'] / 1e9:,.0f} GFLOP/s in this base's products, copying {rates['copy'] / 1e9:,.1f} GB/s\n"
        f"operations per token: 4 x ({sizes.layer_weights / 1e6:.1f} M + "
        f"{sizes.output_weights / 1e6:.1f} M x {share:.2f}) = "
        f"{sizes.count_operations(share) / 1e6:,.0f} M with a frozen base, 6 x for full fine-tuning"
    )
    _print_table(outcomes, one, sizes, max(rates["float32"], rates["bfloat16"]))
    append_results(options.results, _make_results(f"training, {folder.name}", outcomes, one, sizes))


def _print_table(outcomes: dict[str, ContenderResult], one: EpochExamples, sizes: BaseSizes, ceiling: float) -> None:
    """Print a line for each contender; `rate` is its rate of necessary operations over the machine's best rate."""
    columns = (
        f"{'tokens/s':>24} {'ms per step':>11} {'rate':>5} {'peak MB':>9} {'after loading':>14} {'stored bytes':>13}"
    )
    print(f"\n{'contender':36} {columns}")
    for name, outcome in outcomes.items():
        speeds = [one.tokens / seconds for seconds in outcome.part_seconds]
        operations = sizes.count_operations(one.targets / one.tokens, full=name == "ours-full")
        peak, loaded = outcome.peak_bytes / 1e6, outcome.facts["loaded_bytes"] / 1e6
        print(
            f"{name:36} {format_spread(speeds, ',.0f'):>24} {1e3 * median(outcome.part_seconds) / one.steps:11,.0f} "
            f"{median(speeds) * operations / ceiling:5.0%} {peak:9,.0f} {peak - loaded:14,.0f} "
            f"{outcome.facts['stored_bytes']:13,}"
        )
    for subject in (name for name in outcomes if name in OURS):
        for peer in (name for name in outcomes if name in peft_training.SETTINGS):
            times = zip(outcomes[peer].part_seconds, outcomes[subject].part_seconds, strict=True)
            memory = outcomes[subject].peak_bytes / outcomes[peer].peak_bytes
            ratios = format_spread([theirs / our for theirs, our in times])
            print(f"{subject} / {peer}: {ratios} x the tokens/s, {memory:.2f} x the peak memory")


def _make_results(
    part: str, outcomes: dict[str, ContenderResult], one: EpochExamples, sizes: BaseSizes
) -> Iterator[Result]:
    peers = [outcome.part_seconds for name, outcome in outcomes.items() if name in peft_training.SETTINGS]
    for name, outcome in outcomes.items():
        setting = peft_training.SETTINGS.get(name)
        weights = OURS[name][0] if setting is None else setting.dtype
        seconds = median(outcome.part_seconds)
        operations = sizes.count_operations(one.targets / one.tokens, full=name == "ours-full")
        yield Result(
            part=part,
            contender=name,
            dtype="bfloat16" if setting is not None and setting.autocast else weights,
            tokens_per_s=one.tokens / seconds,
            peer_ratio=find_peer_ratio(outcome.part_seconds, peers),
            operations_per_s=operations * one.tokens / seconds,
            bytes_per_s=2 * one.steps * sizes.count_weight_bytes(weights) / seconds,
            peak_bytes=outcome.peak_bytes,
        )


def _make_epoch(folder: Path, options: argparse.Namespace) -> EpochExamples:
    pool = draw_examples(options.data, BATCHES_PER_POOL * options.batch_size, numbers=not options.base)
    lengths = count_tokens(folder, pool)
    indices = choose_epoch_indices(lengths, options.steps, options.batch_size)
    tokens, targets = sum(sum(lengths[index]) for index in indices), sum(lengths[index][1] for index in indices)
    return EpochExamples([pool[index] for index in indices], options.steps, tokens, targets)


def _make_contender(name: str, folder: Path, options: argparse.Namespace, one: EpochExamples) -> Contender:
    if name in OURS:
        dtype, train, engine = OURS[name]
        return Contender(
            prefixfleet_training.train_in_rounds,
            (folder, dtype, _make_config(options, train), engine, one.examples, options.rounds),
            options.rounds,
        )
    setting = peft_training.SETTINGS[name]
    arguments = (folder, setting, _make_config(options, PREFIX_CONFIG), one.examples, options.rounds)
    return Contender(peft_training.train_in_rounds, arguments, options.rounds)


def _make_config(options: argparse.Namespace, train: TrainConfig) -> TrainConfig:
    sizes = {"prefix_length": options.prefix_length, "batch_size": options.batch_size}
    return train.model_copy(update={**sizes, "initialization": "random", "warmup_steps": 0})


if __name__ == "__main__":
    main()
