"""Who computes the passes of a step: this process alone, or with others of its machine.

The loop hands over all rows of a step and gets their sums, with the gradients in its own tensors, whoever computed
them. Knows passes; does not know optimizers or steps.
"""

from collections.abc import Sequence

from components.data.batches import by_tokens
from components.training.objective import Deltas, Row, Sums


class Peers:
    """No other process: all is computed here."""

    count: int = 1
    """Processes among which the rows of a step are divided."""

    def passes(self, deltas: Deltas, rows: Sequence[Row], tokens: int, *, train: bool, checkpointing: bool) -> Sums:
        """The sums of all rows in passes of at most `tokens` tokens, and their gradients where they are to `train`.

        `checkpointing` says whether the base's blocks are checkpointed at this moment.

        Raises:
            RuntimeError, MemoryError: `out_of_memory`; `deltas` may hold a part of the gradients.
            TrainingError: another process has ended.
        """
        del checkpointing
        return local_passes(deltas, rows, tokens, train=train)


def local_passes(deltas: Deltas, rows: Sequence[Row], tokens: int, *, train: bool) -> Sums:
    """What `Peers.passes` gives, by this process."""
    one_pass = deltas.backward if train else deltas.measure
    sums = Sums.of_nothing(deltas.tenants, deltas.base.device)
    for group in by_tokens([row.pair.length for row in rows], tokens):
        sums += one_pass([rows[index] for index in group])
    return sums
