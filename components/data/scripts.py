"""The scripts that texts are written in, such as Latin or Cyrillic. Does not know languages."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

_NAMES = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "MASCULINE": "Latin",
    "FEMININE": "Latin",
    "MATHEMATICAL": "Latin",
    "MICRO": "Greek",
}
_WIDTHS = ("HALFWIDTH ", "FULLWIDTH ")


def measure_scripts(texts: Iterable[str]) -> dict[str, float]:
    """Return script -> its share of all letters, the largest first; {} if there are no letters.

    A letter's script is the first word of its Unicode name, apart from its width.
    """
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if character.isalpha():
            name = unicodedata.name(character, "unknown")
            word = name.removeprefix(_WIDTHS[0]).removeprefix(_WIDTHS[1]).split()[0].partition("-")[0]
            scripts[_NAMES.get(word, word.capitalize())] += count
    total = scripts.total()
    return {script: count / total for script, count in scripts.most_common()}
