"""One sequence in the engine: its tokens not yet read by the model, its text so far, and its branches.

With guidance a sequence has two branches: one with the tenant's delta (its trained weights), and one without. In a beam
search it has as many for each beam, from the first new token on. Knows requests and tokens; does not know models.

Shapes: L layers, H key/value heads, P slots, D head size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from components.model.decoding import DecodeRequest
from components.model.decoding.controls import RowGenerators
from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.artifacts.cache import LoadedArtifact
from components.serving.engine.beams import SequenceBeams
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.engine.row_trace import RowTrace
from components.serving.engine.token_rules import TokenRules
from components.serving.interface import GenerationRequest

if TYPE_CHECKING:
    from components.serving.engine.grammar import Grammar

UNALLOCATED = -1


@dataclass(slots=True)
class SequenceBranch:
    """One series of tokens that the model reads: with the tenant's delta, or without."""

    pending_ids: list[int]
    """Token ids that the model has not read yet."""
    uses_delta: bool
    slots_L2HPD: Tensor | None = None
    """Keys and values of its prefix (or infix) until they are written to the cache; None: there are none."""
    is_infix: bool = False
    """Whether the slots come before the last source token, not before the first."""
    cache_index: int = UNALLOCATED


@dataclass(slots=True, eq=False)
class EngineSequence:
    """One row in the engine."""

    request: GenerationRequest
    loaded_artifact: LoadedArtifact
    decode_request: DecodeRequest
    stream: EngineAnswerStream
    detokenizer: IncrementalDetokenizer
    draws: RowGenerators | None
    """Random number generator for sampling; None: greedy decoding."""
    stop_ids: Sequence[int] = ()
    """The ids that end it."""
    rules: TokenRules | None = None
    """None: its logits are not changed."""
    grammar: "Grammar | None" = None
    """None: it may write any text."""
    beams: SequenceBeams | None = None
    """None: no beam search."""
    trace: RowTrace | None = None
    """None: its request is not traced."""
    branches: list[SequenceBranch] = field(default_factory=list)
    """Those that read; of a beam search, all branches of the first beam, then those of the second ..."""
    idle_branches: list[SequenceBranch] = field(default_factory=list)
    """Those of the other beams, until the first new token."""

    @property
    def tenant(self) -> str:
        """The tenant whose artifact answers."""
        return self.request.artifact.tenant

    @property
    def branch_count(self) -> int:
        """Number of KV cache indices that it needs."""
        return self.request.num_beams * self.beam_width

    @property
    def is_guided(self) -> bool:
        """Whether its logits are a mix of two branches'."""
        return self.request.guidance not in (0, 1)

    @property
    def is_last_token(self) -> bool:
        """Whether its next token reaches its limit."""
        return len(self.detokenizer.token_ids) + 1 >= self.decode_request.limit

    def create_branches(self, slots_L2HPD: Tensor | None, infix: bool) -> None:
        """Create its branches; with guidance 0 only the base answers, as in `Decoding`."""
        if self.request.guidance != 0:
            self.branches = [SequenceBranch(list(self.decode_request.source), True, slots_L2HPD, infix)]
        if self.request.guidance != 1:
            self.branches.append(SequenceBranch(list(self.decode_request.bare_source), False))
        self.idle_branches = [
            SequenceBranch([], branch.uses_delta) for _ in range(1, self.request.num_beams) for branch in self.branches
        ]

    @property
    def beam_width(self) -> int:
        """Number of branches of each beam."""
        return 2 if self.is_guided else 1

    def list_forks(self, parents: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the cache indices that the branches of all beams continue from, and their own."""
        width = self.beam_width
        sources = [self.branches[beam * width + number].cache_index for beam in parents for number in range(width)]
        return sources, [branch.cache_index for branch in (*self.branches, *self.idle_branches)]

    def start_beams(self, token_ids: Sequence[int]) -> None:
        """Let all branches of each beam read its next token."""
        self.branches, self.idle_branches = [*self.branches, *self.idle_branches], []
        for number, branch in enumerate(self.branches):
            branch.pending_ids = [token_ids[number // self.beam_width]]

    def plan_reads(self, budget: int) -> Iterator[tuple[SequenceBranch, int, bool]]:
        """Yield (branch, number of ids to read, whether its logits are needed) for at most about `budget` ids.

        The branches of a guided row read their last source tokens in the same step. An infix is written to the cache
        before the last source token, so this token is read in a step of its own.
        """
        ready = all(len(branch.pending_ids) == 1 for branch in self.branches)
        keeps_last = len(self.branches) > 1 or any(branch.is_infix for branch in self.branches)
        for branch in self.branches:
            pending = len(branch.pending_ids)
            take = pending if ready or not keeps_last else pending - 1
            take = min(take, max(budget, 1))
            if take:
                yield branch, take, take == pending
                budget -= take
