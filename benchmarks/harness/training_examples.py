"""Examples to train on: E2E's where its file is at hand, otherwise numbers in texts of E2E's lengths.

Knows texts and lengths. Does not know models.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from components.data.importers.e2e import import_e2e
from components.data.schema import Example
from components.data.tokens import encode_examples
from components.model.text.texts import TextCodec

BATCHES_PER_POOL = 50
"""Batches that a length-sorted pool of a large training set holds, in PrefixFleet and in `transformers` alike."""

# fmt: off
E2E_LENGTHS = (
    (15, 12), (16, 15), (18, 16), (22, 13), (20, 17), (23, 15), (27, 12), (19, 22), (19, 23), (27, 15),
    (26, 17), (25, 19), (25, 20), (24, 22), (23, 24), (29, 18), (27, 21), (27, 22), (25, 25), (30, 20),
    (29, 22), (27, 25), (36, 16), (31, 22), (29, 25), (28, 27), (42, 13), (33, 23), (31, 26), (30, 28),
    (29, 30), (37, 22), (34, 26), (34, 27), (34, 28), (34, 29), (34, 30), (34, 31), (34, 32), (35, 32),
    (36, 32), (38, 31), (41, 29), (36, 36), (41, 32), (37, 38), (37, 40), (39, 40), (44, 37), (41, 45),
)
# fmt: on
"""Tokens of source and target, end-of-text ids included, of every 841st of E2E's 42,061 training pairs sorted by their
sum, in GPT-2's BPE; mean 55.1 tokens, as of all pairs, of which 24.8 are the target's."""


def draw_examples(data: Path | None, count: int, *, numbers: bool) -> list[Example]:
    """`count` training pairs, the same at every call, from `data`/e2e-dataset.zip; made up where `data` is None.

    `numbers` says that the base's tokenizer reads numbers alone.
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
    """Tokens of each example's source and target under a base's tokenizer, end-of-text ids included."""
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
    """Indices of a short epoch whose batches are as even in length as those of a large set's pool.

    The pool is sorted by length and cut into batches; `steps` of them, evenly spaced, make the epoch.
    """
    order = sorted(range(len(lengths)), key=lambda index: sum(lengths[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [index for step in range(steps) for index in batches[(2 * step + 1) * len(batches) // (2 * steps)]]
