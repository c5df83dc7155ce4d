"""Generate the base's pretraining text: pairs of a record and a sentence, and plain prose, from grammars and a seed.

In four of five pairs the names and values are invented and stand in source and target alike, so that the model learns
to copy them. Half of the rows hold several pairs in one style, so that the model learns to continue a style.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import numpy as np

from components.builtin import names
from components.builtin.domains import DOMAINS, Attribute, Domain
from components.builtin.lexicon import NOUNS
from components.builtin.styles import (
    Linearisation,
    Style,
    make_framed_sentence,
    make_framed_style,
    make_linearisation,
    make_phrased_style,
)

FRESH_VALUE_SHARE = 0.8
SESSION_ROW_SHARE = 0.5
PROSE_ROW_SHARE = 0.05
ROW_CHARACTERS = 1000
"""Text of a row at least, in characters; the row is cut to its length in tokens afterwards."""
COUNTED_SOURCE_SHARE, SOURCE_WEIGHT = 0.25, 0.4
"""Share of the sources that count in the loss, and their weight: invented names can hardly be predicted."""


class PretrainingBatch(NamedTuple):
    """A batch of training rows: token ids and loss weights, both [B, T]."""

    ids_BT: np.ndarray[Any, np.dtype[np.int64]]
    weights_BT: np.ndarray[Any, np.dtype[np.float32]]


class PairGenerator:
    """Generates pairs of one domain, in one linearisation and one style."""

    def __init__(self, random: Random) -> None:
        """Draw a domain, a linearisation and a style."""
        self.random = random
        self.domain = random.choice(DOMAINS) if random.random() < 0.5 else _invent_domain(random)
        self.linearise: Linearisation = make_linearisation(random)
        keys = [attribute.key for attribute in self.domain.attributes]
        clauses = bool(self.domain.attributes[0].clauses)
        self.style: Style = (
            make_phrased_style(self.domain, random)
            if clauses and random.random() < 0.6
            else make_framed_style(keys, random)
        )
        self.shuffles_attributes = random.random() < 0.35
        self.min_attributes = random.choice((1, 2, 3, len(keys)))

    def generate_pair(self) -> tuple[str, str]:
        """Return a source and its target."""
        count = self.random.randint(min(self.min_attributes, len(self.domain.attributes)), len(self.domain.attributes))
        chosen = sorted(self.random.sample(range(len(self.domain.attributes)), count))
        if self.shuffles_attributes:
            self.random.shuffle(chosen)
        fresh = self.random.random() < FRESH_VALUE_SHARE
        record = [(self.domain.name_key, self._generate_value(self.domain.name_kind, self.domain.noun, fresh))]
        for index in chosen:
            attribute = self.domain.attributes[index]
            record.append((attribute.key, self._generate_value(attribute.kind, attribute.key, fresh)))
        return self.linearise(record), self.style(record)

    def _generate_value(self, kind: str, key: str, fresh: bool) -> str:
        source = self.random if fresh else Random(f"{key}/{self.random.randrange(12)}")
        return names.make_value(kind, source)


def generate_prose(random: Random) -> str:
    """Return a few sentences about invented people and places."""
    sentences = []
    for _ in range(random.randint(3, 8)):
        sentence = make_framed_sentence(random)
        if random.random() < 0.5:
            sentence = f"{names.make_value(random.choice(('person', 'place', 'title')), random)}: {sentence}"
        sentences.append(sentence)
    return " ".join(sentences)


def generate_texts(seed: int) -> Iterator[str]:
    """Yield texts without end, to train the tokenizer on."""
    random = Random(seed)
    while True:
        source, target = PairGenerator(random).generate_pair()
        yield f"{source}\n {target}"
        if random.random() < PROSE_ROW_SHARE:
            yield generate_prose(random)


def generate_batches(tokenizer: Any, *, seed: int, batch_size: int, length: int) -> Iterator[PretrainingBatch]:
    """Yield batches of `batch_size` rows of `length` tokens without end; the same batches for the same seed."""
    random = Random(seed)
    end = tokenizer.token_to_id("<eos>")
    while True:
        plans = [_generate_row_texts(random) for _ in range(batch_size)]
        encoded = iter(tokenizer.encode_batch([text for plan in plans for text, _ in plan]))
        ids_BT = np.full((batch_size, length), end, dtype=np.int64)
        weights_BT = np.zeros((batch_size, length), dtype=np.float32)
        for row, plan in enumerate(plans):
            ids: list[int] = []
            weights: list[float] = []
            for _, weight in plan:
                tokens = [*next(encoded).ids, end]
                ids += tokens
                weights += [weight] * len(tokens)
            used = min(length, len(ids))
            ids_BT[row, :used], weights_BT[row, :used] = ids[:used], weights[:used]
        yield PretrainingBatch(ids_BT, weights_BT)


def _generate_row_texts(random: Random) -> list[tuple[str, float]]:
    kind = random.random()
    if kind < PROSE_ROW_SHARE:
        return [(generate_prose(random), 1.0) for _ in range(3)]
    session = kind < PROSE_ROW_SHARE + SESSION_ROW_SHARE
    pairs = PairGenerator(random)
    plan: list[tuple[str, float]] = []
    total = 0
    while total < ROW_CHARACTERS:
        source, target = pairs.generate_pair()
        counted = random.random() < COUNTED_SOURCE_SHARE
        plan += [(source, SOURCE_WEIGHT if counted else 0.0), (f" {target}", 1.0)]
        total += len(source) + len(target)
        if not session:
            pairs = PairGenerator(random)
    return plan


def _invent_domain(random: Random) -> Domain:
    kinds = tuple(names.VALUE_GENERATORS)
    keys = random.sample(NOUNS, random.randint(3, 6))
    if random.random() < 0.3:
        keys = [f"{key} {random.choice(NOUNS)}" if random.random() < 0.4 else key for key in keys]
    attributes = tuple(Attribute(key, random.choice(kinds), (), ()) for key in keys[1:])
    return Domain(keys[0], random.choice(("name", keys[0])), random.choice(("title", "person", "code")), attributes)
