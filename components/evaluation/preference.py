"""The tally of a blind comparison: how often people preferred the second of two versions, with an interval.

Knows no person and no storage.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Choice = Literal["first", "second", "neither"]
"""What a person preferred of two versions' outputs; neither: no difference that matters."""


@dataclass(frozen=True, slots=True)
class PreferenceTally:
    """Choices between two versions by outcome."""

    first: int = 0
    second: int = 0
    neither: int = 0

    @property
    def decided(self) -> int:
        """Choices of one of the two."""
        return self.first + self.second

    def compute_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the share that prefers the second version, among those who preferred one."""
        return compute_wilson_interval(self.second, self.decided, confidence)

    def describe(self, first: str, second: str, confidence: float = 0.95) -> str:
        """Return the tally as a sentence; `first` and `second` name the versions."""
        if not self.decided:
            return f"No choice between {first} and {second} yet."
        low, high = self.compute_interval(confidence)
        said = "neither is shown to be better" if low <= 0.5 <= high else f"{second if low > 0.5 else first} is better"
        equal = f", and {self.neither} without a preference" if self.neither else ""
        return (
            f"{second} preferred in {self.second} of {self.decided} choices{equal}: {self.second / self.decided:.0%} "
            f"[{low:.0%}, {high:.0%}] at {confidence:.0%} confidence; {said}."
        )


def compute_wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; (0, 1) without observations.

    Unlike the interval of the normal approximation it stays within [0, 1], and holds for few observations.
    Source: Wilson (1927), doi:10.1080/01621459.1927.10502953; recommended by Brown, Cai and DasGupta (2001),
    doi:10.1214/ss/1009213286.
    """
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, spread = successes / total, z * z / total
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / total + spread / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)
