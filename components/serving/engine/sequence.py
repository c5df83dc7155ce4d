"""A row on its way: what it still has to read, what it has written, and the twin that guidance needs.

Knows requests and tokens; does not know models.

Shapes: L layers, H key/value heads, P slots, D head size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from components.model.decoding import DecodeRequest as Work
from components.model.decoding.controls import RowGenerators
from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.artifacts.cache import LoadedArtifact
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.interface import GenerationRequest

UNALLOCATED = -1


@dataclass(slots=True)
class SequenceBranch:
    """One of the row's one or two sequences: under the tenant's delta, or bare."""

    pending_ids: list[int]
    """Ids that it has still to read."""
    uses_delta: bool
    slots_L2HPD: Tensor | None = None
    """What is to be remembered before all ids, or before the last (an infix)."""
    is_infix: bool = False
    cache_index: int = UNALLOCATED


@dataclass(slots=True, eq=False)
class EngineSequence:
    """One request in the engine."""

    request: GenerationRequest
    loaded_artifact: LoadedArtifact
    decode_request: Work
    stream: EngineAnswerStream
    detokenizer: IncrementalDetokenizer
    draws: RowGenerators | None
    branches: list[SequenceBranch] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        """Who asked."""
        return self.request.artifact.tenant

    @property
    def branch_count(self) -> int:
        """Places that it needs."""
        return 2 if self.is_guided else 1

    @property
    def is_guided(self) -> bool:
        """Whether two distributions are mixed."""
        return self.request.guidance not in (0, 1)

    @property
    def is_last_token(self) -> bool:
        """Whether its next token is the last of its limit."""
        return len(self.detokenizer.token_ids) + 1 >= self.decode_request.limit

    def create_branches(self, slots_L2HPD: Tensor | None, infix: bool) -> None:
        """Make its readers; guidance 0 is the base alone, as `Decoding` has it."""
        if self.request.guidance != 0:
            self.branches = [SequenceBranch(list(self.decode_request.source), True, slots_L2HPD, infix)]
        if self.request.guidance != 1:
            self.branches.append(SequenceBranch(list(self.decode_request.bare_source), False))

    def plan_reads(self, budget: int) -> Iterator[tuple[SequenceBranch, int, bool]]:
        """What to read now, at most about `budget` ids: (reader, number of ids, whether its logits are wanted).

        The readers of a guided row read their last ids together; an infix goes before the last.
        """
        ready = all(len(reader.pending_ids) == 1 for reader in self.branches)
        apart = len(self.branches) > 1 or any(reader.is_infix for reader in self.branches)
        for reader in self.branches:
            left = len(reader.pending_ids)
            take = left if ready or not apart else left - 1
            take = min(take, max(budget, 1))
            if take:
                yield reader, take, take == left
                budget -= take
