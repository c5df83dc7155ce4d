"""Damaged texts for a reader to restore: BART's text infilling and sentence permutation (arXiv:1910.13461, 2.2)."""

import math
import re
from random import Random

MASK = "<mask>"
MASKED_SHARE, SPAN_MEAN = 0.3, 3
SENTENCE_END = re.compile(r"(?<=[.!?]) +|\n")


def damaged(text: str, random: Random) -> str:
    """Mask 30 % of the words in spans of Poisson length, a mask a span; permute the sentences in half of the cases."""
    lines = text.split("\n") if "\n" in text else SENTENCE_END.split(text)
    joint = "\n" if "\n" in text else " "
    if len(lines) > 1 and random.random() < 0.5:
        random.shuffle(lines)
    words = re.split(r"( |\n)", joint.join(lines))
    tokens, gaps = words[::2], [*words[1::2], ""]
    wanted = max(1, round(MASKED_SHARE * len(tokens)))
    starts = list(range(len(tokens)))
    random.shuffle(starts)
    hidden: set[int] = set()
    heads: set[int] = set()
    while starts and len(hidden) < wanted:
        start = starts.pop()
        span = range(start, min(len(tokens), start + max(1, _poisson(random))))
        if not hidden & set(range(span.start - 1, span.stop + 1)):
            hidden |= set(span)
            heads.add(start)
    kept: list[str] = []
    for place, (token, gap) in enumerate(zip(tokens, gaps, strict=True)):
        if place in heads:
            kept.append(MASK)
        elif place not in hidden:
            kept.append(token)
        if place + 1 not in hidden or place + 1 in heads:
            kept.append(gap)
    return "".join(kept)


def _poisson(random: Random) -> int:
    limit, product, count = math.exp(-SPAN_MEAN), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count
