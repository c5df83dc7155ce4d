"""Pairs of texts for pretraining a reader of dialogues: what to read, what to write; the same for the same seed.

Four kinds: a damaged text and the text (BART's infilling and sentence permutation, arXiv:1910.13461); a real dialogue
and its central lines in reported speech (after PEGASUS's gap sentences, arXiv:1912.08777); a made scene and what an
onlooker says of it; a description told in turns and another wording of it. Knows no tokenizer and no summary of a data
set.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from components.builtin.damage import MASK, SENTENCE_END, damaged
from components.builtin.reported import reported
from components.builtin.scenes import SCENES, SMALL_TALK
from components.builtin.slots import called, drawn

FIRST, SECOND = "#Person1#", "#Person2#"
PASSAGE_WORDS = 60
SHORTEST_SHARE, GROWTH_PAIRS = 0.15, 20_000
"""Pairs begin at this share of their full length and grow over so many, since copying is learnt first on short ones."""
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]+")

Turn = tuple[str, str]
"""Who speaks, and what."""
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What pairs are made from: dialogues of `speaker: text` lines, paragraphs, and several wordings of one thing."""

    dialogues: Sequence[str] = ()
    paragraphs: Sequence[str] = ()
    wordings: Sequence[tuple[str, ...]] = ()


class Pairs:
    """A maker of pairs; what the material lacks is made from scenes."""

    def __init__(self, material: Material, random: Random) -> None:
        """Count in how many dialogues each word stands, for what is central to one."""
        self.random = random
        self.material = material
        self.length = 1.0
        self.dialogues = [turns for text in material.dialogues if len(turns := turns_of(text)) >= 2]
        self.rarity = _rarity(self.dialogues)
        self.wordings = [group for group in material.wordings if len(group) >= 2]

    def __iter__(self) -> Iterator[Pair]:
        """Draw kinds by their shares, endlessly, from short to long."""
        kinds: list[tuple[Callable[[], Pair], float]] = [(self.scene, 0.27), (self.restored, 0.33)]
        if self.dialogues:
            kinds.append((self.reported, 0.3))
        if self.wordings:
            kinds.append((self.retold, 0.1))
        makers, shares = zip(*kinds, strict=True)
        for made in count():
            self.length = min(1.0, SHORTEST_SHARE + made / GROWTH_PAIRS)
            yield self.random.choices(makers, shares)[0]()

    def restored(self) -> Pair:
        """A text with words masked and sentences permuted, and the text."""
        text = self._passage()
        return damaged(text, self.random), text

    def reported(self) -> Pair:
        """A window of one or two dialogues, and its central lines in reported speech, in their order."""
        turns = self._window()
        if self.random.random() < 0.15:
            turns += self._window()
        turns, labels = self._cast(turns)
        lines: list[tuple[float, int, str]] = []
        context = Counter(word for _, text in turns for word in _words(text))
        for place, (speaker, text) in enumerate(turns):
            listener = next((who for who, _ in turns[place + 1 :] + turns[:place][::-1] if who != speaker), SECOND)
            for number, sentence in enumerate(SENTENCE_END.split(text)):
                told = reported(labels.get(speaker, speaker), labels.get(listener, listener), sentence)
                if told and len(told.split()) < 26:
                    lines.append((self._weight(sentence, context), place * 100 + number, told))
        if not lines:
            return self.scene()
        kept = sorted(lines, reverse=True)[: self.random.choice((1, 1, 2, 2, 3))]
        told = " ".join(line for _, _, line in sorted(kept, key=lambda line: line[1]))
        if self.random.random() < 0.3 and (topic := self._topic(turns)):
            told = f"{labels.get(FIRST, FIRST)} and {labels.get(SECOND, SECOND)} talk about {topic}. {told}"
        return dialogue_of(turns), told

    def scene(self) -> Pair:
        """One made scene, at times with lines of a real dialogue round it, and what an onlooker says."""
        random = self.random
        labels = [FIRST, SECOND]
        names_said = ["", ""]
        for side, share in ((0, 0.12), (1, 0.3)):
            if random.random() < share:
                labels[side] = names_said[side] = called(random)
        slots = {"a": labels[0], "b": labels[1]} | drawn(random)
        spoken = slots | {"a": names_said[0] or "sir", "b": names_said[1] or "my friend"}
        exchanges = random.choice(SCENES).split("\n")
        chosen = [exchanges[start : start + 3] for start in range(0, len(exchanges), 3)]
        chosen = chosen[:1] + [exchange for exchange in chosen[1:] if random.random() < 0.65 * self.length]
        turns: list[Turn] = []
        told: list[str] = []
        for number, (first, second, onlooker) in enumerate(chosen):
            turns += [(FIRST, _said(first, spoken, random)), (SECOND, _said(second[2:], spoken, random))]
            if number == 0 or random.random() < 0.5:
                told.append(_said(onlooker[2:], slots, random))
        turns = self._greeted(turns, names_said)
        if self.dialogues and random.random() < 0.4:
            turns += self._window()[: random.choice((1, 2, 4))]
        if random.random() < 0.5:
            turns = [(_other(who), text) for who, text in turns]
            told = [_swapped(text) for text in told]
        return dialogue_of(turns), " ".join(told[:3])

    def retold(self) -> Pair:
        """A description told turn by turn, and another wording of the same."""
        first, second = self.random.sample(self.random.choice(self.wordings), 2)
        turns: list[Turn] = []
        teller, asker = self.random.choice(((FIRST, SECOND), (SECOND, FIRST)))
        for sentence in SENTENCE_END.split(first):
            question = self.random.choice(("Tell me more.", "Really?", "What else?", "And then?", "I see.", "Go on."))
            turns += [(asker, question), (teller, sentence)]
        opening = self.random.choice((f"{teller} tells {asker} something. ", f"{teller} says: ", "", ""))
        return dialogue_of(turns), opening + second

    def _passage(self) -> str:
        style = self.random.random()
        if self.dialogues and style < 0.45:
            return dialogue_of(self._cast(self._window(most=6))[0])
        if self.material.paragraphs and style < 0.85:
            start = self.random.randrange(len(self.material.paragraphs))
            words: list[str] = []
            limit = round(PASSAGE_WORDS * self.length)
            while len(words) < limit * 2 // 3 and start < len(self.material.paragraphs):
                words += self.material.paragraphs[start].split()
                start += 1
            return " ".join(words[:limit])
        if self.material.wordings and style < 0.92:
            return " ".join(self.random.choice(self.material.wordings)[:2])
        return self.scene()[self.random.randrange(2)]

    def _window(self, most: int = 16) -> list[Turn]:
        turns = self.random.choice(self.dialogues)
        longest = min(len(turns), max(2, round(most * self.length)))
        length = self.random.randint(min(4, longest), longest)
        start = self.random.randint(0, len(turns) - length)
        return list(turns[start : start + length])

    def _cast(self, turns: list[Turn]) -> tuple[list[Turn], dict[str, str]]:
        """Swap the speakers in half of the cases; in a third one is called by a name, which an onlooker then uses."""
        if self.random.random() < 0.5:
            turns = [(_other(who), _swapped(text)) for who, text in turns]
        labels: dict[str, str] = {}
        if self.random.random() < 0.3:
            labels[self.random.choice((FIRST, SECOND))] = called(self.random)
            names_said = [labels.get(FIRST, ""), labels.get(SECOND, "")]
            turns = self._greeted(turns, names_said)
        return turns, labels

    def _greeted(self, turns: list[Turn], names_said: list[str]) -> list[Turn]:
        """Let each name be said once by the other speaker, and begin or end with small talk in some cases."""
        turns = list(turns)
        for side, name in enumerate(names_said):
            speaker = (SECOND, FIRST)[side]
            places = [place for place, (who, _) in enumerate(turns) if who == speaker][:2]
            if name and places:
                place = self.random.choice(places)
                call = self.random.choice((f"Hi, {name}.", f"{name},", f"Hello, {name}!", f"Well, {name},"))
                turns[place] = (speaker, f"{call} {turns[place][1]}")
        blocks = SMALL_TALK.strip().split("\n")
        for share, at_end in ((0.3, False), (0.3, True)):
            if self.random.random() < share:
                start = self.random.randrange(len(blocks) // 2) * 2
                nobody = {"a": "sir", "b": "you"}
                talk = [
                    (FIRST, _said(blocks[start], nobody, self.random)),
                    (SECOND, _said(blocks[start + 1][2:], nobody, self.random)),
                ]
                turns = turns + talk if at_end else talk + turns
        return turns

    def _weight(self, sentence: str, context: Counter[str]) -> float:
        words = sorted({word for word in _words(sentence) if len(word) > 3})
        gain = sum(math.log1p(context[word]) * self.rarity.get(word, 1.0) for word in words)
        return gain / math.sqrt(len(words) + 3)

    def _topic(self, turns: list[Turn]) -> str | None:
        found = Counter(
            words for _, text in turns for words in re.findall(r"\b((?:the|a|an) [a-z]{4,}(?: [a-z]{5,})?)\b", text)
        )
        return max(found, key=lambda words: (found[words], len(words), words)) if found else None


def turns_of(dialogue: str) -> list[Turn]:
    """Split lines of `speaker: text`; a line without a speaker belongs to the turn before it."""
    turns: list[Turn] = []
    for line in dialogue.splitlines():
        if found := re.match(r"^(#Person\d#): ?(.+)$", line.strip()):
            turns.append((found[1], found[2]))
        elif turns and line.strip():
            turns[-1] = (turns[-1][0], f"{turns[-1][1]} {line.strip()}")
    return turns


def dialogue_of(turns: Sequence[Turn]) -> str:
    """Join turns to lines of `speaker: text`."""
    return "\n".join(f"{who}: {text}" for who, text in turns)


def texts(pairs: Iterator[Pair]) -> Iterator[str]:
    """Both sides of each pair without masks, for training a tokenizer."""
    for source, target in pairs:
        yield source.replace(MASK, "")
        yield target


def _said(alternatives: str, slots: dict[str, str], random: Random) -> str:
    return random.choice(alternatives.split(" / ")).strip().format(**slots)


def _other(speaker: str) -> str:
    return {FIRST: SECOND, SECOND: FIRST}.get(speaker, speaker)


def _swapped(text: str) -> str:
    return re.sub(r"#Person[12]#", lambda found: _other(found[0]), text)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _rarity(dialogues: Sequence[Sequence[Turn]]) -> dict[str, float]:
    counts = Counter(word for turns in dialogues for word in {w for _, text in turns for w in _words(text)})
    return {word: math.log((1 + len(dialogues)) / (1 + count)) for word, count in counts.items()}
