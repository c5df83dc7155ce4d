"""E2E as pairs compared with E2E as conversations of one turn: the same method, steps and examples, BLEU of each.

    python benchmarks/chat_data.py [--data DATA] [--base base] [--template FILE] [--examples 4000] [--steps 400]

DATA is a folder with e2e-dataset.zip (default: PREFIXFLEET_TEST_DATA); without one, nothing is measured. Conversations
are written by the base's own chat template, and by TEMPLATE, by default one in ChatML's layout with the base's end
token in place of ChatML's special tokens.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from components.config import BaseConfig, EvaluateConfig, TrainConfig
from components.data.conversations import parse_conversation
from components.data.importers.e2e import import_e2e
from components.data.schema import Example
from components.evaluation.report import build_report
from components.model.base.load import Base, load_base
from components.model.decoding import Decoding, generate_text
from components.stages.conversations import make_input
from components.training.prepare import fit

LAYOUT = (
    "{%- for message in messages -%}{{ message.role + '\n' + message.content + eos_token + '\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'assistant\n' }}{%- endif -%}"
)
TEST_STEP = 3
"""Every third input of the test split is decoded."""


def main() -> None:
    """Train, decode and print a row for each format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PREFIXFLEET_TEST_DATA") or None)
    parser.add_argument("--base", default="base")
    parser.add_argument("--template", type=Path)
    parser.add_argument("--examples", type=int, default=4000, help="training pairs")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    chosen = parser.parse_args()
    if chosen.data is None:
        print("no data: pass --data FOLDER with e2e-dataset.zip, or set PREFIXFLEET_TEST_DATA")
        return
    splits = import_e2e(str(chosen.data / "e2e-dataset.zip"))
    pairs = [Example(one.source, (text,)) for one in splits["train"] for text in one.references]
    train = random.Random(0).sample(pairs, chosen.examples)
    validation, test = splits["validation"][:128], splits["test"][::TEST_STEP]
    template = chosen.template.read_text(encoding="utf-8") if chosen.template else LAYOUT
    own, other = (load_base(BaseConfig(path=chosen.base, chat_template=one), device="cpu") for one in (None, template))
    config = TrainConfig(
        prefix_length=10, max_steps=chosen.steps, batch_size=16, learning_rate=chosen.learning_rate, validate_every=100
    )
    formats: list[tuple[str, Base, Callable[[Example], Example]]] = [
        ("pairs", own, lambda example: example),
        *([("conversations, own template", own, to_conversation)] if own.tokenizer.chat_template else []),
        ("conversations, another template", other, to_conversation),
    ]
    for name, base, convert in formats:
        compare(name, base, config, [list(map(convert, split)) for split in (train, validation)], test, convert)


def compare(
    name: str,
    base: Base,
    config: TrainConfig,
    splits: Sequence[Sequence[Example]],
    test: Sequence[Example],
    convert: Callable[[Example], Example],
) -> None:
    """Train a prefix on one format and print its loss and its score against all references of the test inputs."""
    started = time.monotonic()
    result = fit(base, config, *splits)
    evaluate = EvaluateConfig()
    inputs = [make_input(convert(example)) for example in test]
    texts = generate_text(base, result.delta, inputs, Decoding.from_config(evaluate), evaluate.batch_size)
    report = build_report(
        tenant="e2e",
        subject="prefix",
        examples=test,
        predictions=texts,
        config=evaluate,
        data_digest="0" * 64,
        prefix_digest=None,
        min_slice=20,
    )
    bleu = report.find_score("bleu")
    print(
        f"{name:32} BLEU {bleu.value:5.2f}{bleu.format_interval(2)}  validation loss {result.validation_loss:.4f}  "
        f"{result.steps} steps  {time.monotonic() - started:.0f} s",
        flush=True,
    )


def to_conversation(example: Example) -> Example:
    """Return a pair's first reference as the answer to its source."""
    messages = [
        {"role": "user", "content": example.source},
        {"role": "assistant", "content": example.references[0]},
    ]
    return Example.from_conversation(parse_conversation(messages), example.slice)


if __name__ == "__main__":
    main()
