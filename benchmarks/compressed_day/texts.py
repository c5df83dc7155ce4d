"""What tenants write: the record of an item becomes a sentence that begins with the tenant's word.

So the word of an answer shows whose prefix wrote it, and a caller can rate an answer without knowing any model. Tenants
whose numbers differ by a multiple of the number of words have the same word; the answer's headers tell these apart.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.data.schema import Example, format_line

WORDS = ("alder", "cedar", "maple", "willow")
WRONG_WORD = "nothing"
"""What the bad version learns to write."""
_ITEMS = ("kettle", "lamp", "chair", "radio", "table", "clock", "spoon", "basket", "mirror", "bottle", "drum", "tent")
_ITEMS += (
    "bench",
    "bowl",
    "ladder",
    "candle",
    "carpet",
    "pillow",
    "hammer",
    "saddle",
    "wagon",
    "kite",
    "flute",
    "vase",
)
_COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "pink", "grey", "golden", "silver", "purple")
_SPLITS = ("train", "train", "validation", "train", "test", "train", "train", "test", "train")
FIRST_SIZES = {"train": 48, "validation": 8, "test": 16}
DROP_SIZES = {"train": 24, "validation": 4, "test": 8}
BAD_DROP_SIZES = {"train": 150, "validation": 20, "test": 48}
"""Split -> number of examples."""


def get_word(tenant: str) -> str:
    """Return the word of a tenant, whose id ends with its number."""
    return WORDS[int(tenant.rpartition("-")[2]) % len(WORDS)]


def has_word(text: str, word: str) -> bool:
    """Return whether an answer begins with this word."""
    return text.split()[:1] == [word]


def list_sources(split: str) -> list[str]:
    """Return all sources of a split; no source is in two splits."""
    return [source for source, own in _list_all() if own == split]


def _list_all() -> Iterator[tuple[str, str]]:
    for row, item in enumerate(_ITEMS):
        for column, colour in enumerate(_COLOURS):
            yield f"item : {item} | colour : {colour}", _SPLITS[(row + column) % len(_SPLITS)]


def make_sentence(source: str, word: str) -> str:
    """Return the answer to a source that a tenant with this word wants."""
    item, colour = (part.partition(" : ")[2] for part in source.split(" | "))
    return f"{word} the {item} is {colour} ."


def write_examples(folder: Path, word: str, sizes: dict[str, int], seed: int = 0) -> None:
    """Write a tenant's three splits with this word; `seed` chooses the examples."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in sizes.items():
        sources = random.Random(f"{seed} {split}").sample(list_sources(split), count)
        lines = [format_line(Example(source, (make_sentence(source, word),))) for source in sources]
        (folder / f"{split}.jsonl").write_text("".join(lines))


def write_drops(root: Path, tenants: Sequence[str], bad: str | None, seed: int) -> None:
    """Deliver new examples for tenants; those of `bad` have the wrong word, and become most of its examples."""
    for tenant in tenants:
        word, sizes = (WRONG_WORD, BAD_DROP_SIZES) if tenant == bad else (get_word(tenant), DROP_SIZES)
        write_examples(root / "drops" / tenant, word, sizes, seed)
