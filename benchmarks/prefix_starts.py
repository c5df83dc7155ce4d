"""How a prefix begins: slot 0 free or BOS, and the other slots random, from the tenant's words or from a prompt.

    python benchmarks/prefix_starts.py [--base base] [--e2e FOLDER] [--seeds 3] [--steps 100] [--examples 1500]

Trains every start with the same examples, seeds and steps, on the built-in tenants or, with --e2e, on samples of the
pairs in FOLDER/e2e-dataset.zip. Prints means of validation loss (nats per target token) and BLEU, and the mean paired
differences with their 95 % intervals (Student's t over seeds and tenants). In the starts "again" the tokenizer writes
BOS before every source, as that of Llama does: a second BOS where slot 0 is one.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from components.builtin.tenants import BUILTIN_TENANTS, generate_examples
from components.config import BaseConfig, EvaluateConfig, TrainConfig
from components.data.importers.e2e import import_e2e
from components.data.schema import Example
from components.errors import PrefixFleetError
from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics
from components.model.base.load import Base, load_base
from components.model.decoding import Decoding, generate_text
from components.training.loop import train_together
from components.training.prepare import prepare_job

Splits = Mapping[str, Sequence[Example]]
WORDS, RANDOM, PROMPT, AGAIN = "words", "random", "prompt", "words, again"
FIRST_SLOTS, INITS = ("free", "bos"), (RANDOM, WORDS, PROMPT, AGAIN)
COMPARISONS = {
    "bos - free": [(("bos", init), ("free", init)) for init in (RANDOM, WORDS, PROMPT)],
    "bos - free, words": [(("bos", WORDS), ("free", WORDS))],
    "bos - free, BOS before the source": [(("bos", AGAIN), ("free", AGAIN))],
    "bos: BOS once - again": [(("bos", WORDS), ("bos", AGAIN))],
    "words - random": [((first, WORDS), (first, RANDOM)) for first in FIRST_SLOTS],
    "prompt - random": [((first, PROMPT), (first, RANDOM)) for first in FIRST_SLOTS],
    "prompt - words": [((first, PROMPT), (first, WORDS)) for first in FIRST_SLOTS],
}
"""What is compared -> pairs of starts; their differences are averaged for a seed and tenant."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one trained start reached."""

    loss: float
    bleu: float


def main() -> None:
    """Train, decode and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=Path("base"), help="folder of a base")
    parser.add_argument("--e2e", type=Path, help="folder with e2e-dataset.zip; default: the built-in tenants")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--examples", type=int, default=1500, help="training pairs of one seed, of E2E")
    parser.add_argument("--tests", type=int, default=40, help="test inputs that are decoded")
    parser.add_argument("--prefix-length", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--prompt", default="Write this as a text")
    chosen = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        bases = [load_base(BaseConfig(path=str(chosen.base)), device="cpu")]
        bases.append(
            load_base(BaseConfig(path=str(write_bos_base(chosen.base, bases[0], Path(scratch)))), device="cpu")
        )
        results = [measure_starts(bases[0], bases[1], splits, seed, chosen) for seed, splits in draw_splits(chosen)]
    print_means(results)
    print_differences(results)
    print(f"{len(results)} sets of {len(results[0])} trainings, {time.monotonic() - started:.0f} s")


def draw_splits(chosen: argparse.Namespace) -> Iterator[tuple[int, Splits]]:
    """Yield each seed with its examples: a sample of E2E's pairs, or every built-in tenant's."""
    if chosen.e2e is not None:
        whole = import_e2e(str(chosen.e2e / "e2e-dataset.zip"))
        for seed in range(chosen.seeds):
            yield seed, {**whole, "train": random.Random(seed).sample(whole["train"], chosen.examples)}
        return
    for seed in range(chosen.seeds):
        for builtin in BUILTIN_TENANTS:
            lines: dict[str, Any] = generate_examples(builtin)
            yield seed, {split: [_make_example(line) for line in own] for split, own in lines.items()}


def _make_example(line: Mapping[str, Any]) -> Example:
    return Example(line["source"], tuple(line["references"]))


def write_bos_base(folder: Path, base: Base, scratch: Path) -> Path:
    """Write a copy of a base whose tokenizer puts BOS before every text."""
    copied = shutil.copytree(folder, scratch / f"{folder.name}-bos")
    file = copied / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    bos = base.tokenizer.bos_token
    text: dict[str, Any] = {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, text],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {bos: {"id": bos, "ids": [base.bos_id], "tokens": [bos]}},
    }
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    return copied


def measure_starts(
    base: Base, bos_base: Base, splits: Splits, seed: int, chosen: argparse.Namespace
) -> dict[tuple[str, str], Outcome]:
    """Train every start on the same examples, those of one base together, and score each."""
    outcomes: dict[tuple[str, str], Outcome] = {}
    for one, inits in ((base, (RANDOM, WORDS, PROMPT)), (bos_base, (AGAIN,))):
        starts = {f"{first}/{init}": (first, init) for first in FIRST_SLOTS for init in inits}
        jobs = (
            prepare_job(one, make_config(*start, seed, chosen), splits["train"], splits["validation"], tenant=name)
            for name, start in starts.items()
        )
        for ended in train_together(one, jobs):
            if isinstance(ended.result, PrefixFleetError):
                raise ended.result
            start = starts[ended.job.tenant]
            bleu = score(one, ended.result.delta, splits["test"], chosen.tests)
            outcomes[start] = Outcome(ended.result.validation_loss, bleu)
            print(f"seed {seed} {ended.job.tenant}: {outcomes[start]}", flush=True)
    return outcomes


def make_config(first_slot: str, init: str, seed: int, chosen: argparse.Namespace) -> TrainConfig:
    """Return the train section of one start."""
    return TrainConfig.model_validate(
        {
            "first_slot": first_slot,
            "initialization": "random" if init == RANDOM else "text",
            "init_text": chosen.prompt if init == PROMPT else None,
            "prefix_length": chosen.prefix_length,
            "learning_rate": chosen.learning_rate,
            "max_steps": chosen.steps,
            "validate_every": max(1, chosen.steps // 2),
            "batch_size": 8,
            "seed": seed,
        }
    )


def score(base: Base, delta: Any, test: Sequence[Example], count: int) -> float:
    """Return the BLEU of evenly spaced test inputs."""
    examples, config = test[:: max(1, len(test) // count)][:count], EvaluateConfig()
    sources = [example.source for example in examples]
    texts = generate_text(base, delta, sources, Decoding.from_config(config), batch_size=count)
    statistics_NK = compute_sentence_statistics("bleu", texts, [one.references for one in examples], True, "13a")
    return compute_corpus_score("bleu", statistics_NK)


def print_means(results: Sequence[Mapping[tuple[str, str], Outcome]]) -> None:
    """Print a row for every start."""
    print(f"\n{'slot 0':8}{'other slots':16}{'validation loss':>16}{'BLEU':>8}")
    for start in results[0]:
        losses, bleus = ([getattr(one[start], name) for one in results] for name in ("loss", "bleu"))
        print(f"{start[0]:8}{start[1]:16}{np.mean(losses):16.4f}{np.mean(bleus):8.2f}")


def print_differences(results: Sequence[Mapping[tuple[str, str], Outcome]]) -> None:
    """Print a row for every comparison."""
    print(f"\n{'difference':36}{'validation loss':>30}{'BLEU':>28}")
    for name, pairs in COMPARISONS.items():
        cells = []
        for field, digits in (("loss", 4), ("bleu", 2)):
            differences = [
                float(np.mean([getattr(one[left], field) - getattr(one[right], field) for left, right in pairs]))
                for one in results
            ]
            low, high = ttest_1samp(differences, 0.0).confidence_interval(0.95)
            cells.append(f"{np.mean(differences):+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
        print(f"{name:36}{cells[0]:>30}{cells[1]:>28}")


if __name__ == "__main__":
    main()
