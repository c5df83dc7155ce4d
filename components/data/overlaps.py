"""Examples that stand in two splits of a tenant, so that the evaluation measures what training has seen.

Sources are compared as they are, apart from runs of white space, characters without width (such as U+200B and U+FEFF)
and Unicode's composed form (NFC). Each of the assistant's turns of a conversation in `other` has a source: the messages
before it. Knows no file.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.config import DataConfig
from components.data.schema import Example
from components.errors import DataError

_SHOWN_SOURCES = 3
_WITHOUT_WIDTH = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_PAIRS = (("validation", "train"), ("test", "train"), ("test", "validation"))


@dataclass(frozen=True, slots=True)
class Overlap:
    """The examples of `split` whose source stands in `other` too."""

    split: str
    other: str
    examples: int
    """Examples of `split`."""
    shared: int
    """Those whose source is also a source of `other`."""
    repeated: int
    """Those of `shared` that also have a reference in common with that source in `other`."""
    first: tuple[str, ...]
    """The first such sources, at most three, cut to 60 characters."""

    @property
    def share(self) -> float:
        """Share of the examples of `split`."""
        return self.shared / self.examples

    @property
    def sentence(self) -> str:
        """The overlap in a sentence."""
        repeated = f", {self.repeated:,} of them with the same reference" if self.repeated else ""
        return (
            f"{self.shared:,} of {self.examples:,} {self.split} examples ({self.share:.1%}) "
            f"have a source that is also in {self.other}{repeated}"
        )


def find_overlaps(splits: Mapping[str, Sequence[Example]]) -> list[Overlap]:
    """Return the overlaps of validation and test with train, and of test with validation; none for disjoint splits."""
    references = {split: _collect_references(examples) for split, examples in splits.items()}
    overlaps = []
    for split, other in _PAIRS:
        known = references.get(other, {})
        shared = [example for example in splits.get(split, ()) if _normalize(example.source) in known]
        if shared:
            repeated = sum(
                not known[_normalize(example.source)].isdisjoint(map(_normalize, example.references))
                for example in shared
            )
            first = dict.fromkeys(example.shown_input for example in shared)
            shown = tuple(_shorten(source) for source in [*first][:_SHOWN_SOURCES])
            overlaps.append(Overlap(split, other, len(splits[split]), len(shared), repeated, shown))
    return overlaps


def require_few_overlaps(tenant: str, overlaps: Sequence[Overlap], limits: DataConfig) -> None:
    """Refuse data whose validation or test split repeats too much of train.

    Raises:
        DataError: the share of shared sources exceeds `limits.max_overlap`.

    """
    for overlap in overlaps:
        if overlap.other == "train" and overlap.share > limits.max_overlap:
            raise DataError(
                f"at most {limits.max_overlap:.0%} of the {overlap.split} sources of {tenant} in train",
                f"{overlap.sentence}; the first is {overlap.first[0]!r}",
                f"remove these examples from train or from {overlap.split}, or raise data.max_overlap",
            )


def _collect_references(examples: Sequence[Example]) -> dict[str, set[str]]:
    references: dict[str, set[str]] = {}
    for example in examples:
        for source, own in _list_trained(example):
            references.setdefault(_normalize(source), set()).update(map(_normalize, own))
    return references


def _list_trained(example: Example) -> list[tuple[str, tuple[str, ...]]]:
    """Return source and references of an example; of a conversation, those of each of the assistant's turns."""
    if (conversation := example.conversation) is None:
        return [(example.source, example.references)]
    return [(turn.prompt.to_json(), (turn.answer,)) for turn in conversation.list_turns()]


def _shorten(source: str) -> str:
    return source if len(source) <= 60 else f"{source[:57]}..."


def _normalize(text: str) -> str:
    return " ".join(_WITHOUT_WIDTH.sub("", unicodedata.normalize("NFC", text)).split())
