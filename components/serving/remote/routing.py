"""Which of several engines answers: rendezvous hashing with bounded load.

The requests for one artifact go to the same engine, so that the artifact is in the memory of few. An engine that has
more than its share of what is in flight is passed over, so that a busy tenant spreads and a slow engine gets less.
Sources: Thaler and Ravishankar 1998; for the bound Mirrokni, Thorup and Zadimoghaddam 2018 ("Consistent Hashing with
Bounded Loads"). Knows names and numbers.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

LOAD_FACTOR = 1.25
"""An engine gets at most this many times the mean of what is in flight."""
FREE_ROWS = 8
"""Rows that an engine may have in flight in any case: that few share a step and do not delay one another."""


def rank_engines(key: str, in_flight: Mapping[str, int]) -> Sequence[str]:
    """Return the names of all engines, the one to ask first at the start.

    `in_flight`: the rows that each engine answers now. Those within their share come first, in the order of their hash
    with `key`; then the others, the least busy first.
    """
    by_hash = sorted(in_flight, key=lambda name: hashlib.sha256(f"{name}\0{key}".encode()).digest())
    share = LOAD_FACTOR * (sum(in_flight.values()) + 1) / max(len(in_flight), 1)
    most = max(FREE_ROWS, math.ceil(share))
    within = [name for name in by_hash if in_flight[name] < most]
    beyond = sorted((name for name in by_hash if in_flight[name] >= most), key=in_flight.__getitem__)
    return [*within, *beyond]
