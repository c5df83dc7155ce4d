"""Porter's stemmer (M. F. Porter 1980, "An algorithm for suffix stripping", Program 14.3) with nltk's extensions.

Gives exactly the stems of nltk's PorterStemmer, which rouge-score uses. nltk itself imports scikit-learn, pandas and
scipy: seconds of processor time in every process that scores. Knows words of a-z and 0-9; does not know metrics.
"""

_IRREGULAR = {
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "innings": "inning",
    "outings": "outing",
    "cannings": "canning",
    **{word: word for word in ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")},
}
_PLURALS = (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", ""))
_DOUBLE_SUFFIXES = (
    *(("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble")),
    *(("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate")),
    *(("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al")),
    *(("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful")),
)
_LATE_SUFFIXES = (
    *(("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")),
)
_LAST_SUFFIXES = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate"),
    *("iti", "ous", "ive", "ize"),
)


def stem_word(word: str) -> str:
    """Return the stem of a lower-cased word of a-z and 0-9."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _remove_past_and_gerund(_remove_plural(word))
    if word.endswith("y") and len(word) > 2 and _mark_letters(word[:-1])[-1] == "c":
        word = f"{word[:-1]}i"
    word = _replace_measured(_replace_double_suffix(word), _LATE_SUFFIXES)
    return _tidy(_remove_last_suffix(word))


def _mark_letters(word: str) -> str:
    """Return c for each consonant and v for each vowel; y is a vowel after a consonant, a digit is a consonant."""
    marks: list[str] = []
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and bool(marks) and marks[-1] == "c")
        marks.append("v" if is_vowel else "c")
    return "".join(marks)


def _measure(stem: str) -> int:
    """Return Porter's m: the number of times that vowels are followed by consonants."""
    return _mark_letters(stem).count("vc")


def _ends_short(stem: str) -> bool:
    """Return Porter's condition *o: it ends consonant, vowel, consonant but w, x, y; or is a vowel and a consonant."""
    marks = _mark_letters(stem)
    return (marks.endswith("cvc") and stem[-1] not in "wxy") or marks == "vc"


def _remove_plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return next((word[: -len(old)] + new for old, new in _PLURALS if word.endswith(old)), word)


def _remove_past_and_gerund(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    length = 2 if word.endswith("ed") else 3 if word.endswith("ing") else 0
    stem = word[: len(word) - length]
    if not length or "v" not in _mark_letters(stem):
        return word
    if stem.endswith(("at", "bl", "iz")):
        return f"{stem}e"
    if stem[-2:-1] == stem[-1] and _mark_letters(stem)[-1] == "c":
        return stem if stem[-1] in "lsz" else stem[:-1]
    return f"{stem}e" if _measure(stem) == 1 and _ends_short(stem) else stem


def _replace_double_suffix(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]):
        word = word[:-2]
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) else word
    return _replace_measured(word, _DOUBLE_SUFFIXES)


def _replace_measured(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    """Apply the first rule whose suffix the word has, if the rest has a vowel followed by a consonant."""
    for old, new in rules:
        if word.endswith(old):
            stem = word[: -len(old)]
            return stem + new if _measure(stem) else word
    return word


def _remove_last_suffix(word: str) -> str:
    for suffix in _LAST_SUFFIXES:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            is_removed = _measure(stem) > 1 and (suffix != "ion" or stem[-1] in "st")
            return stem if is_removed else word
    return word


def _tidy(word: str) -> str:
    if word.endswith("e"):
        stem, measure = word[:-1], _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(stem)):
            word = stem
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
