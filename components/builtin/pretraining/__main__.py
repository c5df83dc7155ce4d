"""`make base`: train the tokenizer and the built-in base on generated text and save them. Reproducible by seed."""

import argparse
from itertools import islice
from pathlib import Path

from components.builtin.corpus import generate_batches, generate_texts
from components.builtin.pretraining.gpt2 import PretrainingConfig, pretrain, save_base, train_tokenizer

VOCABULARY_SIZE = 2048
BATCH_SIZE = 24
ROW_LENGTH = 224
TOKENIZER_TEXT_COUNT = 30_000


def main() -> None:
    """Train the base and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("base"))
    parser.add_argument(
        "--state", type=Path, default=Path("var/pretraining.pt"), help="file that a stopped run resumes from"
    )
    parser.add_argument("--steps", type=int, default=PretrainingConfig.steps)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    recipe = PretrainingConfig(steps=arguments.steps, seed=arguments.seed)
    tokenizer = train_tokenizer(islice(generate_texts(arguments.seed + 1), TOKENIZER_TEXT_COUNT), VOCABULARY_SIZE)
    batches = generate_batches(tokenizer, seed=arguments.seed + 2, batch_size=BATCH_SIZE, length=ROW_LENGTH)
    end = tokenizer.token_to_id("<eos>")
    model = pretrain(batches, tokenizer.get_vocab_size(), end, recipe, _print_progress, state=arguments.state)
    save_base(model, tokenizer, arguments.out)


def _print_progress(step: int, loss: float, seconds: float) -> None:
    print(f"step {step}  loss {loss:.4f}  {seconds:.0f} s", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
