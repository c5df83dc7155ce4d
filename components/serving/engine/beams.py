"""The beam search of one row: the search of the evaluation, one step at a time.

A row of a beam search has one branch of the cache for each beam. Its answer is known at its end. Knows the search of
`components.model.decoding`; does not know models or caches.

Shapes: K beams, V vocabulary, N new tokens so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from components.errors import PrefixFleetError
from components.model.base.load import Base
from components.model.decoding.search import BeamSearch, SearchRules, find_forced_eos_ids
from components.serving.engine.step_errors import make_nonfinite_error, to_step_error
from components.serving.engine.token_rules import TokenRules, to_decoding
from components.serving.interface import GenerationRequest


@dataclass(frozen=True, slots=True)
class BeamStep:
    """The decisions of one step."""

    parents: Sequence[int] = ()
    """The beam that each beam continues from."""
    token_ids: Sequence[int] = ()
    """Each beam's next token."""
    answer: Sequence[int] | None = None
    """The best beam's tokens without end-of-text; None: the search goes on."""


class SequenceBeams:
    """The beams of one row."""

    def __init__(self, base: Base, request: GenerationRequest, limit: int, rules: TokenRules) -> None:
        """Start with one empty beam; `limit` is the most new tokens."""
        self._rules = rules
        decoding = replace(to_decoding(request), max_new_tokens=limit, min_new_tokens=0)
        self._search = BeamSearch(
            SearchRules(decoding, rules.controller, base.eos_id, find_forced_eos_ids(base)), [limit], base.device
        )
        self.last_step = BeamStep()

    def choose_tokens(self, logits_KV: Tensor) -> BeamStep:
        """Choose the next tokens; at the first call the logits are [1, V], as the beams share them."""
        search = self._search
        history_KN = search.text_BKN[0, : len(logits_KV), : int(search.length_B[0])]
        step = search.choose_tokens(self._rules.apply_own(logits_KV, history_KN))
        if step.finished:
            self.last_step = BeamStep(answer=step.finished[0][1])
        elif step.parent_BK is not None:
            self.last_step = BeamStep(step.parent_BK[0].tolist(), step.token_BK[0].tolist())
        return self.last_step

    @property
    def histories(self) -> list[list[int]]:
        """The new tokens of each beam of a search that goes on; they continue in the order of the last step."""
        length = int(self._search.length_B[0])
        texts: list[list[int]] = self._search.text_BKN[0, :, :length].tolist()
        return texts


def step_beams(beams: SequenceBeams, logits_KV: Tensor) -> BeamStep | PrefixFleetError:
    """Choose a row's next tokens, or return its error; the other rows' tokens are chosen already."""
    try:
        if not bool(logits_KV.amax(dim=1).isfinite().all()):
            return make_nonfinite_error()
        return beams.choose_tokens(logits_KV)
    except Exception as problem:  # noqa: BLE001 - an error of one row ends only that one
        return to_step_error(problem)
