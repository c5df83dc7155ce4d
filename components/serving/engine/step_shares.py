"""Choose the rows of a step, so that a tenant with many rows does not make the steps of one with few much longer.

While a tenant with few rows is in the batch, so many rows of the others take part that a step takes about half as long
again as one without them; the oldest come first, the rest wait. A row counts as often as it has branches. How many take
part is learnt from the time between the starts of steps, which includes the work on their tokens: where more rows cost
nothing, no row waits. Steps stay short for a second after the last one that such a tenant shared, since its next
request would otherwise wait for a long step. Knows rows and seconds; does not know models or clocks.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from components.serving.engine.sequence import EngineSequence

_LIGHT_SHARE = 8
"""A tenant has few rows if it has at most 1/8 of the batch's."""
_LONGEST = 1.5
"""How long a step with other rows may take, in times of one without."""
_MEASURE_EVERY = 16
"""One of so many steps leaves the other rows out, to learn how long it takes without them."""
_LIGHT_SECONDS = 1.0
"""How long steps stay short after the last one that a tenant with few rows shared."""
_DECAY = 0.9
_GROW, _SHRINK = 0.5, 0.95
"""Rows that are added to the room after a step that was short enough; factor of the room after one that was not."""


class StepShares:
    """Learns from the steps of one batch."""

    def __init__(self, max_rows: int) -> None:
        """`max_rows` is the size of the batch."""
        self._light_rows, self._max_rows = max_rows // _LIGHT_SHARE, max_rows
        self._room = float(max(self._light_rows, 1))
        """How many rows of the tenants with many take part."""
        self._light_s: float | None = None
        """Seconds of a step without them; None: not measured yet."""
        self._last_light_s = -math.inf
        self._mixed_steps = 0
        self._kind: Literal["light", "mixed", "other"] = "other"
        self._begun_s: float | None = None

    def choose(self, sequences: Sequence[EngineSequence], now_s: float) -> Sequence[EngineSequence]:
        """Return the rows that take part in the step that begins now, in their order; `now_s` is monotonic."""
        if self._begun_s is not None:
            self._learn(now_s - self._begun_s)
        self._begun_s = now_s
        counts = Counter[str]()
        for sequence in sequences:
            counts[sequence.tenant] += sequence.branch_count
        light = [sequence for sequence in sequences if counts[sequence.tenant] <= self._light_rows]
        if len(light) == len(sequences):
            self._kind = "light" if light else "other"
            return sequences
        if not light:
            self._kind = "other"
            is_recent = now_s - self._last_light_s <= _LIGHT_SECONDS
            return self._choose_fitting(sequences) if is_recent else sequences
        self._last_light_s = now_s
        self._mixed_steps += 1
        if self._light_s is None or self._mixed_steps % _MEASURE_EVERY == 0:
            self._kind = "light"
            return light
        self._kind = "mixed"
        heavy = [sequence for sequence in sequences if counts[sequence.tenant] > self._light_rows]
        chosen = {*light, *self._choose_fitting(heavy)}
        return [sequence for sequence in sequences if sequence in chosen]

    def _choose_fitting(self, heavy: Sequence[EngineSequence]) -> Sequence[EngineSequence]:
        """Return the oldest rows for which there is room, at least one."""
        ends = accumulate(sequence.branch_count for sequence in heavy)
        return [sequence for sequence, end in zip(heavy, ends, strict=True) if end <= self._room] or heavy[:1]

    def pause(self) -> None:
        """The batch is empty: the time until the next step is no step's."""
        self._begun_s = None

    def _learn(self, seconds: float) -> None:
        if self._kind == "light":
            self._light_s = _DECAY * (self._light_s or seconds) + (1 - _DECAY) * seconds
        elif self._kind == "mixed" and self._light_s is not None:
            is_long = seconds > _LONGEST * self._light_s
            self._room = max(self._room * _SHRINK, 1.0) if is_long else min(self._room + _GROW, self._max_rows)
