"""How far requests are from the training inputs: a score in [0, 1] for each tenant. Pure.

Three differences are measured: between the distributions of lengths (the largest difference of the two cumulative
distributions, Kolmogorov and Smirnov's statistic), and how much larger the shares of unknown words and of unknown
attribute values are than in held-out inputs. Of each, what chance explains at 95 % is taken off, so that a few requests
or a few training examples give no score. The tenant's score is the largest of the three.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from components.rollout.policy.input_profile import InputCounts, InputProfile

_KOLMOGOROV = 1.358
"""Of 95 %: N. Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948."""
_NORMAL = 1.645
"""Of 95 %, one-sided."""


@dataclass(frozen=True, slots=True)
class InputDrift:
    """The score of one tenant's requests."""

    requests: int
    length: float
    words: float
    values: float

    @property
    def score(self) -> float:
        """The largest of the three."""
        return max(self.length, self.words, self.values)

    @property
    def sentence(self) -> str:
        """The score in words."""
        parts = (("input length", self.length), ("unknown words", self.words), ("unknown values", self.values))
        details = ", ".join(f"{name} {value:.2f}" for name, value in parts)
        return f"requests differ from the training data by {self.score:.2f} ({details}; {self.requests:,} requests)"

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON values."""
        return {**asdict(self), "score": self.score}


def compute_input_drift(profile: InputProfile, seen: InputCounts) -> InputDrift:
    """Compare what a server counted with the profile of the version that answered."""
    held_out = profile.held_out
    return InputDrift(
        requests=seen.inputs,
        length=_compare_lengths(profile.training.lengths, seen.lengths),
        words=_compare_shares(held_out.unknown_words, held_out.words, seen.unknown_words, seen.words),
        values=_compare_shares(held_out.unknown_fields, held_out.fields, seen.unknown_fields, seen.fields),
    )


def _compare_lengths(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    first, second = sum(one.values()), sum(other.values())
    if not first or not second:
        return 0.0
    buckets = sorted({*one, *other})
    ours, theirs = (accumulate([counts.get(bucket, 0) for bucket in buckets]) for counts in (one, other))
    largest = max(abs(a / first - b / second) for a, b in zip(ours, theirs, strict=True))
    return max(0.0, largest - _KOLMOGOROV * math.sqrt((first + second) / (first * second)))


def _compare_shares(before: int, all_before: int, now: int, all_now: int) -> float:
    """Return how much larger the share is now; nothing is compared without counts of both."""
    if not all_before or not all_now:
        return 0.0
    p, q = before / all_before, now / all_now
    # One more of each kind (Laplace), so that a share of 0 in a few words is not taken as certain.
    smooth = (before + 1) / (all_before + 2)
    error = math.sqrt(smooth * (1 - smooth) / all_before + q * (1 - q) / all_now)
    return max(0.0, q - p - _NORMAL * error)
