"""A `DecoderOnlyRun` of a base that is divided among processes: every rank has its part of the cache.

Rank 0 sends the tokens that it has chosen. Knows decoding runs; does not know how a token is chosen.
"""

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from components.model.base.load import Base
from components.model.decoding.decoder_run import DecoderOnlyRun
from components.model.prefix.prefix import Prefix
from components.model.ranks import run_on_all_ranks, share


class DividedRun:
    """The rows of one batch; used on rank 0."""

    def __init__(
        self, base: Base, prefixes: Sequence[Prefix | None], sources: Sequence[Sequence[int]], beams: int
    ) -> None:
        """Prefill every row on all ranks; see `DecoderOnlyRun`."""
        self.run: DecoderOnlyRun = run_on_all_ranks(_start_run, base, list(prefixes), list(sources), beams)
        self.logits_BV = self.run.logits_BV

    def step(self, token_BK: Tensor) -> Tensor:
        """See `DecodingRun.step`."""
        logits_RV: Tensor = run_on_all_ranks(DecoderOnlyRun.step, self.run, token_BK)
        return logits_RV

    def keep(self, kept_B: Tensor) -> None:
        """See `DecodingRun.keep`."""
        run_on_all_ranks(DecoderOnlyRun.keep, self.run, kept_B)

    def reorder(self, parent_BK: Tensor) -> None:
        """See `DecodingRun.reorder`."""
        run_on_all_ranks(DecoderOnlyRun.reorder, self.run, parent_BK)

    def join(self, other: Self) -> None:
        """Append the rows of another run of this kind."""
        run_on_all_ranks(DecoderOnlyRun.join, self.run, other.run)


def _start_run(
    base: Base, prefixes: Sequence[Prefix | None], sources: Sequence[Sequence[int]], beams: int
) -> DecoderOnlyRun:
    run: DecoderOnlyRun = share(DecoderOnlyRun(base, prefixes, sources, beams))
    return run
