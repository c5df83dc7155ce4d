"""Generate random names and values, which a model can only copy, not know. Knows no domain."""

from random import Random

from components.builtin.lexicon import ADJECTIVES, COLOURS, MONTHS, NOUNS

_ONSETS = """b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kn kr l m n p pl pr qu r s sc sh sk sl sm sn sp st
    str sw t th tr v w wh y z""".split()
_VOWELS = """a a e e i i o o u ai au ea ee ei ia ie io oa oo ou y""".split()
_CODAS = """b ck d f g ks l ld lf ll lm ln lt m mp n nd ng nk nn nt p r rb rd rg rk rl rm rn rp rs rt s sh sk ss
    st t th v x z""".split()
_WORD_ENDINGS = """a berg by don e er ey field ford gate ham holm ia ick in is land ley lin low mouth o on or ov port
    sen stead ton um us vale wick worth""".split()


def make_word(random: Random) -> str:
    """Return an invented word, capitalised, of at most eleven letters."""
    parts = []
    for _ in range(random.choice((1, 1, 1, 2))):
        parts.append(random.choice(_ONSETS) + random.choice(_VOWELS))
        if random.random() < 0.6:
            parts.append(random.choice(_CODAS))
    if random.random() < 0.75:
        parts.append(random.choice(_WORD_ENDINGS))
    return "".join(parts)[:11].capitalize()


def make_place(random: Random) -> str:
    """Return the name of a place."""
    style = random.random()
    if style < 0.7:
        return make_word(random)
    if style < 0.85:
        return (
            f"{random.choice(('Port', 'Saint', 'New', 'North', 'Upper', 'Lower', 'East', 'Old'))} {make_word(random)}"
        )
    return f"{make_word(random)} {random.choice(('Bay', 'Hill', 'Bridge', 'Park', 'Cross', 'Green', 'Point', 'Road'))}"


def make_person(random: Random) -> str:
    """Return the name of a person."""
    middle = f" {random.choice('ABCDEFGHJKLMNOPRSTVW')}." if random.random() < 0.15 else ""
    return f"{make_word(random)}{middle} {make_word(random)}"


def make_title(random: Random) -> str:
    """Return the name of a shop, a ship or a book: invented or made of common words."""
    style = random.random()
    if style < 0.35:
        return " ".join(make_word(random) for _ in range(random.choice((1, 1, 2, 2, 3))))
    common = random.choice(NOUNS).capitalize()
    if style < 0.55:
        return f"{random.choice(ADJECTIVES).capitalize()} {common}"
    if style < 0.75:
        return f"The {random.choice((*ADJECTIVES, *NOUNS)).capitalize()} {common}"
    if style < 0.9:
        return f"{make_word(random)} {common}"
    return f"{common} of {make_word(random)}"


def make_thing(random: Random) -> str:
    """Return a kind of thing, in lower case."""
    style = random.random()
    if style < 0.4:
        return random.choice(NOUNS)
    if style < 0.8:
        return f"{random.choice((*ADJECTIVES, *NOUNS))} {random.choice(NOUNS)}"
    return f"{random.choice(ADJECTIVES)} {random.choice(NOUNS)} {random.choice(NOUNS)}"


def make_quality(random: Random) -> str:
    """Return an adjective or an invented word."""
    return random.choice(ADJECTIVES) if random.random() < 0.6 else make_word(random)


def make_colour(random: Random) -> str:
    """Return a colour, or an adjective and a noun."""
    return random.choice(COLOURS) if random.random() < 0.7 else f"{random.choice(ADJECTIVES)} {random.choice(NOUNS)}"


def make_number(random: Random) -> str:
    """Return a whole number of at most five digits, or one below 100 with a decimal."""
    style = random.random()
    if style < 0.75:
        return str(random.randrange(1, 10 ** random.choice((1, 2, 2, 3, 3, 4, 5))))
    return f"{random.randrange(1, 100)}.{random.randrange(10)}"


def make_year(random: Random) -> str:
    """Return a year."""
    return str(random.randrange(1000, 2100))


def make_date(random: Random) -> str:
    """Return a date, with or without its year."""
    return f"{random.randrange(1, 29)} {random.choice(MONTHS)}" + (
        f" {make_year(random)}" if random.random() < 0.4 else ""
    )


def make_hour(random: Random) -> str:
    """Return a time of day."""
    return f"{random.randrange(1, 13)}.{random.randrange(60):02d} {random.choice(('am', 'pm'))}"


def make_price(random: Random) -> str:
    """Return an amount of money."""
    amount = make_number(random)
    return random.choice((f"£{amount}", f"${amount}", f"{amount} euros", f"less than £{amount}", f"{amount} pounds"))


def make_measure(random: Random) -> str:
    """Return a quantity with its unit."""
    units = (
        "metres",
        "km",
        "kg",
        "grams",
        "miles",
        "hours",
        "minutes",
        "litres",
        "degrees",
        "tonnes",
        "pages",
        "seats",
    )
    return f"{make_number(random)} {random.choice(units)}"


def make_code(random: Random) -> str:
    """Return a short code of letters and digits."""
    letters = "".join(random.choice("ABCDEFGHKLMNPRSTVWX") for _ in range(random.choice((1, 2, 3))))
    return f"{letters}{random.choice(('-', '', ' '))}{random.randrange(1, 10 ** random.choice((1, 2, 3)))}"


VALUE_GENERATORS = {
    "place": make_place,
    "person": make_person,
    "title": make_title,
    "thing": make_thing,
    "quality": make_quality,
    "colour": make_colour,
    "number": make_number,
    "year": make_year,
    "date": make_date,
    "hour": make_hour,
    "price": make_price,
    "measure": make_measure,
    "code": make_code,
}
"""Kind of value -> its generator."""


def make_value(kind: str, random: Random) -> str:
    """Return a random value of the kind."""
    return VALUE_GENERATORS[kind](random)
