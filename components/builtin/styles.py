"""Styles, which turn a record into sentences, and linearisations, which turn it into a source.

A style is drawn once and used for many records, so that a model can infer it from the first ones. There are two
families: a phrased style chooses among a domain's own clauses and remarks; a framed style puts each value into words
drawn at random, so that the model sees many different wordings. Does not know tenants.
"""

from collections.abc import Callable, Sequence
from random import Random

from components.builtin.domains import Domain
from components.builtin.lexicon import ADJECTIVES, ADVERBS, NOUNS, PARTICIPLES, PREPOSITIONS, VERBS

AttributeRecord = Sequence[tuple[str, str]]
"""Keys and values in the order of the source; the first value is the subject."""
Style = Callable[[AttributeRecord], str]
Linearisation = Callable[[AttributeRecord], str]

_JOINS = (", and ", " and ", ", ", "; ", ", while it ", ", which ")
_OPENINGS = ("", "", "", "Note: ", "News: ", "In brief: ", "Well, ", "Today: ", "From the desk: ", "As we know, ")
_PRONOUNS = ("It", "The {n}", "This {n}", "Our {n}", "The same {n}", "{s}", "One more thing: it", "Also, it")


def make_linearisation(random: Random) -> Linearisation:
    """Draw a linearisation; the most frequent is `key : value | key : value`."""
    style = random.random()
    if style < 0.6:
        return lambda record: " | ".join(f"{key} : {value}" for key, value in record)
    if style < 0.7:
        return lambda record: "".join(f" | {record[0][1]} : {key} : {value}" for key, value in record[1:])
    if style < 0.8:
        return lambda record: ", ".join(f"{key}[{value}]" for key, value in record)
    if style < 0.9:
        return lambda record: "; ".join(f"{key} = {value}" for key, value in record)
    return lambda record: "\n".join(f"{key}: {value}" for key, value in record)


def make_phrased_style(domain: Domain, random: Random) -> Style:
    """Draw a style that uses the domain's own clauses and remarks."""
    clauses = {a.key: random.choice(a.clauses) for a in domain.attributes}
    remarks = {a.key: random.choice(a.remarks) for a in domain.attributes}
    as_remark = {a.key for a in domain.attributes if random.random() < 0.35}
    rank = {a.key: random.random() for a in domain.attributes}
    keeps_order = random.random() < 0.4
    phrases_per_sentence = random.choice((1, 2, 2, 3))
    join, opening, pronoun = random.choice(_JOINS[:4]), random.choice(_OPENINGS), random.choice(_PRONOUNS)
    introduces = random.random() < 0.3
    closing = f" {make_framed_sentence(random)}" if random.random() < 0.2 else ""

    def write(record: AttributeRecord) -> str:
        subject = record[0][1]
        rest = list(record[1:]) if keeps_order else sorted(record[1:], key=lambda pair: rank[pair[0]])
        phrases = [clauses[key].format(v=value, n=domain.noun) for key, value in rest if key not in as_remark]
        tails = [remarks[key].format(v=value, n=domain.noun) for key, value in rest if key in as_remark]
        if introduces:
            phrases.insert(0, f"is {choose_article(domain.noun)} {domain.noun}")
        sentences = []
        for start in range(0, len(phrases), phrases_per_sentence):
            beginning = subject if start == 0 else pronoun.format(n=domain.noun, s=subject)
            sentences.append(f"{beginning} {join.join(phrases[start : start + phrases_per_sentence])}.")
        if not sentences:
            sentences.append(f"This is about {subject}.")
        return opening + " ".join(sentences + tails) + closing

    return write


def make_framed_style(keys: Sequence[str], random: Random) -> Style:
    """Draw a style with random words around the value of each key; they are the same for every record."""
    frames = {key: _make_frame(random) for key in keys}
    lead = _make_frame(random)
    rank = {key: random.random() for key in keys}
    keeps_order = random.random() < 0.5
    separator, end = random.choice(((" ", "."), (", ", "."), ("; ", "."), (" ", "!"), (", and ", "."), (" - ", ".")))
    opening = (
        f"{_make_phrase(random).capitalize()}{random.choice((':', ',', '.', ' -'))} " if random.random() < 0.5 else ""
    )
    closing = f" {make_framed_sentence(random)}" if random.random() < 0.35 else ""
    upper = separator == " "

    def write(record: AttributeRecord) -> str:
        rest = list(record[1:]) if keeps_order else sorted(record[1:], key=lambda pair: rank[pair[0]])
        parts = [lead.format(v=record[0][1], k=record[0][0])]
        parts += [frames[key].format(v=value, k=key) for key, value in rest]
        if upper:
            parts = [part[0].upper() + part[1:] for part in parts]
            return opening + f"{end} ".join(parts) + end + closing
        body = separator.join(parts)
        return opening + body[0].upper() + body[1:] + end + closing

    return write


def make_framed_sentence(random: Random) -> str:
    """Return a sentence of random words that contains no value of a record."""
    return random.choice(
        (
            lambda: f"{_make_phrase(random)} {random.choice(VERBS)} {_make_phrase(random)}.",
            lambda: f"we {random.choice(ADVERBS)} {_make_plural_verb(random)} {_make_phrase(random)}.",
            lambda: f"{_make_plural_verb(random)} {random.choice(ADVERBS)}.",
            lambda: f"{random.choice(ADJECTIVES)} {random.choice(NOUNS)}!",
        )
    )().capitalize()


def choose_article(noun: str) -> str:
    """Return the indefinite article for a noun."""
    return "an" if noun[0] in "aeiou" else "a"


def _make_phrase(random: Random) -> str:
    determiner = random.choice(("the", "a", "our", "this", "each", "your", "every", "no"))
    noun = random.choice(NOUNS)
    adjective = f"{random.choice(ADJECTIVES)} " if random.random() < 0.45 else ""
    tail = ""
    if not adjective and random.random() < 0.5:
        tail = f" {random.choice(PREPOSITIONS)} {random.choice(('the', 'our'))} {random.choice(NOUNS)}"
    words = f"{adjective}{noun}{tail}"
    return f"{choose_article(words) if determiner == 'a' else determiner} {words}"


def _make_plural_verb(random: Random) -> str:
    return random.choice(VERBS).rstrip("s")


def _make_frame(random: Random) -> str:
    """Draw the words around a value: `{v}` stands for the value, `{k}` for its key."""
    return random.choice(_FRAMES)(random)


_FRAMES: tuple[Callable[[Random], str], ...] = (
    lambda r: f"{_make_phrase(r)} {r.choice(VERBS)} {{v}}",
    lambda r: f"{r.choice(PARTICIPLES)} {r.choice(PREPOSITIONS)} {{v}}",
    lambda r: f"{r.choice(PARTICIPLES)} {r.choice(ADVERBS)} {r.choice(PREPOSITIONS)} {{v}} {r.choice(NOUNS)}",
    lambda r: f"{{v}} {r.choice(VERBS)} {_make_phrase(r)}",
    lambda r: f"{r.choice(PREPOSITIONS)} {{v}}, {r.choice(ADVERBS)}",
    lambda r: f"{{v}} {r.choice(('is', 'was', 'stays', 'keeps', 'makes'))} {_make_phrase(r)}",
    lambda r: f"{_make_phrase(r)} {r.choice(('is', 'was', 'has', 'had', 'shows', 'of', 'with'))} {{v}}",
    lambda r: f"{r.choice(PREPOSITIONS)} {_make_phrase(r)} {r.choice(VERBS)} {{v}}",
    lambda r: f"{{v}} {r.choice(PREPOSITIONS)} {_make_phrase(r)}",
    lambda r: f"{r.choice(('its', 'their', 'the', 'with', 'with a', 'our'))} {{k}} {r.choice(VERBS)} {{v}}",
    lambda r: f"the {{k}} {r.choice(('is', 'was', 'being', 'stays'))} {{v}}",
    lambda r: f"{r.choice(ADVERBS)} {{v}} {r.choice(PREPOSITIONS)} {r.choice(ADJECTIVES)} {r.choice(NOUNS)}",
    lambda r: f"{r.choice(NOUNS)} {{v}}",
    lambda r: (
        f"{r.choice(('we', 'they', 'you', 'people'))} {_make_plural_verb(r)} {{v}} "
        f"{r.choice(PREPOSITIONS)} {_make_phrase(r)}"
    ),
)
