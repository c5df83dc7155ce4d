"""Examples to train on: E2E's own, or random words in texts of E2E's lengths if its file is not available.

Knows texts and lengths; does not know models.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from components.data.importers.e2e import import_e2e
from components.data.schema import Example
from components.data.tokens import encode_examples
from components.model.text.texts import TextCodec

BATCHES_PER_POOL = 50
"""Number of batches in a pool that is sorted by length, in PrefixFleet and in `transformers`."""

# fmt: off
E2E_LENGTHS = (
    (15, 12), (16, 15), (18, 16), (22, 13), (20, 17), (23, 15), (27, 12), (19, 22), (19, 23), (27, 15),
    (26, 17), (25, 19), (25, 20), (24, 22), (23, 24), (29, 18), (27, 21), (27, 22), (25, 25), (30, 20),
    (29, 22), (27, 25), (36, 16), (31, 22), (29, 25), (28, 27), (42, 13), (33, 23), (31, 26), (30, 28),
    (29, 30), (37, 22), (34, 26), (34, 27), (34, 28), (34, 29), (34, 30), (34, 31), (34, 32), (35, 32),
    (36, 32), (38, 31), (41, 29), (36, 36), (41, 32), (37, 38), (37, 40), (39, 40), (44, 37), (41, 45),
)
# fmt: on
"""(source tokens, target tokens) of every 841st of E2E's 42,061 training pairs sorted by their sum, in GPT-2's BPE.

End tokens are included. The mean is 55.1 tokens, as of all pairs; 24.8 of them are the target's."""


def draw_examples(data: Path | None, count: int, *, numbers: bool) -> list[Example]:
    """Return `count` training pairs from `data`/e2e-dataset.zip, or random ones if `data` is None.

    Every call returns the same pairs. `numbers`: the texts are numbers, for a tokenizer that knows only numbers.
    """
    chooser = random.Random(0)
    if data is not None:
        return chooser.sample(import_e2e(str(data / "e2e-dataset.zip"))["train"], count)
    words = [str(number) for number in range(1, 50_000)] if numbers else ["pub", "name", "near", "the", "cheap"]

    def text(tokens: int) -> str:
        return " ".join(chooser.choices(words, k=tokens - 1))

    lengths = [E2E_LENGTHS[number % len(E2E_LENGTHS)] for number in range(count)]
    chooser.shuffle(lengths)
    return [Example(text(source), (text(target),)) for source, target in lengths]


def count_tokens(folder: Path, examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Return the numbers of tokens in each example's source and target with a base's tokenizer, with end tokens."""
    from transformers import AutoTokenizer

    encoded = encode_examples(
        TextCodec(AutoTokenizer.from_pretrained(folder)),
        examples,
        context=1024,
        prefix_length=0,
        max_source_tokens=None,
        expand_references=False,
    )
    return [(len(pair.source_ids), len(pair.target_ids)) for pair in encoded]


def choose_epoch_indices(lengths: Sequence[tuple[int, int]], steps: int, batch_size: int) -> list[int]:
    """Return the indices of a short epoch whose batches are as even in length as those of a large training set.

    All examples are sorted by length and cut into batches; `steps` evenly spaced batches are the epoch.
    """
    order = sorted(range(len(lengths)), key=lambda index: sum(lengths[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [index for step in range(steps) for index in batches[(2 * step + 1) * len(batches) // (2 * steps)]]
