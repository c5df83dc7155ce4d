"""A row on its way: what it still has to read, what it has written, and the twin that guidance needs.

Knows requests and tokens; does not know models.

Shapes: L layers, H key/value heads, P slots, D head size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from components.model.decoding import Request as Work
from components.model.decoding.controls import RowDraws
from components.serving.engine.answer_stream import LiveAnswer
from components.serving.engine.artifacts.cache import Resident
from components.serving.engine.detokenizer import Writing
from components.serving.interface import Request

NOWHERE = -1


@dataclass(slots=True)
class Reader:
    """One of the row's one or two sequences: under the tenant's delta, or bare."""

    todo: list[int]
    """Ids that it has still to read."""
    under_delta: bool
    slots_L2HPD: Tensor | None = None
    """What is to be remembered before all ids, or before the last (an infix)."""
    infix: bool = False
    place: int = NOWHERE


@dataclass(slots=True, eq=False)
class Row:
    """One request in the engine."""

    request: Request
    resident: Resident
    work: Work
    answer: LiveAnswer
    writing: Writing
    draws: RowDraws | None
    readers: list[Reader] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        """Who asked."""
        return self.request.artifact.tenant

    @property
    def places(self) -> int:
        """Places that it needs."""
        return 2 if self.guided else 1

    @property
    def guided(self) -> bool:
        """Whether two distributions are mixed."""
        return self.request.guidance not in (0, 1)

    @property
    def last(self) -> bool:
        """Whether its next token is the last of its limit."""
        return len(self.writing.ids) + 1 >= self.work.limit

    def start(self, slots_L2HPD: Tensor | None, infix: bool) -> None:
        """Make its readers; guidance 0 is the base alone, as `Decoding` has it."""
        if self.request.guidance != 0:
            self.readers = [Reader(list(self.work.source), True, slots_L2HPD, infix)]
        if self.request.guidance != 1:
            self.readers.append(Reader(list(self.work.bare), False))

    def reads(self, budget: int) -> Iterator[tuple[Reader, int, bool]]:
        """What to read now, at most about `budget` ids: (reader, number of ids, whether its logits are wanted).

        The readers of a guided row read their last ids together; an infix goes before the last.
        """
        ready = all(len(reader.todo) == 1 for reader in self.readers)
        apart = len(self.readers) > 1 or any(reader.infix for reader in self.readers)
        for reader in self.readers:
            left = len(reader.todo)
            take = left if ready or not apart else left - 1
            take = min(take, max(budget, 1))
            if take:
                yield reader, take, take == left
                budget -= take
