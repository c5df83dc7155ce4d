"""What a tenant's training inputs look like: how long they are, and which words and attribute values they have.

Words and values are kept as bits of a Bloom filter, from which no text can be read; a word that is not in it was not in
training, and one in a hundred of those that were not is taken for known. Pure; knows no file and no database.
"""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.data.linearization import detect_form, split_fields
from components.model.text.words import split_characters_or_words

_BITS_PER_ENTRY = 10
_HASHES = 7
_MAX_ENTRIES = 50_000
_MAX_WORDS = 500
"""Words of one input that are looked up: a long input must not hold up a server."""
_BUCKETS_PER_OCTAVE = 4


@dataclass(frozen=True, slots=True)
class InputCounts:
    """Inputs, counted."""

    inputs: int = 0
    words: int = 0
    unknown_words: int = 0
    """Words that are not in the training inputs."""
    fields: int = 0
    """Attributes of records that were compared."""
    unknown_fields: int = 0
    """Attributes with a value that no training input has for this attribute."""
    lengths: Mapping[int, int] = field(default_factory=dict)
    """Bucket of `to_length_bucket` -> inputs."""

    def __add__(self, other: "InputCounts") -> "InputCounts":
        lengths = Counter(self.lengths)
        lengths.update(other.lengths)
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNT_NAMES}
        return InputCounts(**sums, lengths=dict(lengths))


COUNT_NAMES = ("inputs", "words", "unknown_words", "fields", "unknown_fields")


@dataclass(frozen=True, slots=True)
class InputProfile:
    """The training inputs of one version."""

    form: str
    """Form of the records (`components.data.linearization`); "": the inputs are plain text."""
    known: bytes
    """The Bloom filter."""
    training: InputCounts
    """The training inputs; their words are all known."""
    held_out: InputCounts
    """The validation and test inputs: how much is unknown in inputs of the same kind."""

    def count(self, source: str) -> InputCounts:
        """Return the counts of one input."""
        words, fields = _list_words(source), _list_fields(source, self.form)
        return InputCounts(
            inputs=1,
            words=len(words),
            unknown_words=sum(not self._has(word) for word in words),
            fields=len(fields),
            unknown_fields=sum(not self._has(one) for one in fields),
            lengths={to_length_bucket(source): 1},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON values for `from_json`."""
        return {
            "form": self.form,
            "known": base64.b64encode(self.known).decode(),
            "training": _counts_to_json(self.training),
            "held_out": _counts_to_json(self.held_out),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "InputProfile":
        """Return the profile in JSON values."""
        training, held_out = (_counts_from_json(values[name]) for name in ("training", "held_out"))
        return cls(values["form"], base64.b64decode(values["known"]), training, held_out)

    def _has(self, entry: str) -> bool:
        return all(self.known[place >> 3] >> (place & 7) & 1 for place in _find_places(entry, 8 * len(self.known)))


def make_input_profile(training: Sequence[str], held_out: Sequence[str]) -> InputProfile:
    """Return the profile of training sources and of held-out sources of the same kind."""
    form = detect_form(training) or ""
    entries: dict[str, None] = {}
    for source in training:
        entries.update(dict.fromkeys([*_list_words(source), *_list_fields(source, form)]))
    size = max(8, min(len(entries), _MAX_ENTRIES) * _BITS_PER_ENTRY // 8)
    bits = bytearray(size)
    for entry in entries:
        for place in _find_places(entry, 8 * size):
            bits[place >> 3] |= 1 << (place & 7)
    empty = InputProfile(form, bytes(bits), InputCounts(), InputCounts())
    return InputProfile(form, empty.known, _count_all(empty, training), _count_all(empty, held_out))


def to_length_bucket(source: str) -> int:
    """Return the bucket of an input's length: bucket i holds up to 2^(i/4) words, and more than bucket i-1."""
    words = len(split_characters_or_words(source))
    return max(0, math.ceil(_BUCKETS_PER_OCTAVE * math.log2(max(words, 1))))


def _count_all(profile: InputProfile, sources: Iterable[str]) -> InputCounts:
    total = InputCounts()
    for source in sources:
        total += profile.count(source)
    return total


def _list_words(source: str) -> list[str]:
    return [word.casefold() for word in split_characters_or_words(source)[:_MAX_WORDS]]


def _list_fields(source: str, form: str) -> list[str]:
    if not form:
        return []
    return [f"{key}\n{value}".casefold() for key, value in split_fields(source, form)[:_MAX_WORDS]]


def _find_places(entry: str, bits: int) -> Iterator[int]:
    digest = hashlib.blake2b(entry.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    first, step = int.from_bytes(digest[:8]), int.from_bytes(digest[8:]) | 1
    return ((first + number * step) % bits for number in range(_HASHES))


def _counts_to_json(counts: InputCounts) -> dict[str, Any]:
    return {**{name: getattr(counts, name) for name in COUNT_NAMES}, "lengths": sorted(counts.lengths.items())}


def _counts_from_json(values: Mapping[str, Any]) -> InputCounts:
    return InputCounts(**{name: values[name] for name in COUNT_NAMES}, lengths=dict(values["lengths"]))
