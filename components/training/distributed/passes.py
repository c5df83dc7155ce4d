"""Who computes the passes of a step: this process alone, or with others of its machine.

The loop hands over all rows of a step and gets their sums, with the gradients in its own tensors, whoever computed
them. Knows passes; does not know optimizers or steps.
"""

from collections.abc import Sequence

from components.data.batches import group_by_tokens
from components.training.objective import LossSums, StepDeltas, TrainingExample


class PassRunner:
    """No other process: all is computed here."""

    process_count: int = 1
    """Processes among which the rows of a step are divided."""

    def run_passes(
        self, deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool, checkpointing: bool
    ) -> LossSums:
        """The sums of all rows in passes of at most `tokens` tokens, and their gradients where they are to `train`.

        `checkpointing` says whether the base's blocks are checkpointed at this moment.

        Raises:
            RuntimeError, MemoryError: `out_of_memory`; `deltas` may hold a part of the gradients.
            TrainingError: another process has ended.
        """
        del checkpointing
        return run_local_passes(deltas, rows, tokens, train=train)


def run_local_passes(deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool) -> LossSums:
    """What `PassRunner.run_passes` gives, by this process."""
    one_pass = deltas.backward if train else deltas.compute_sums
    sums = LossSums.make_zeros(deltas.tenant_count, deltas.base.device)
    for group in group_by_tokens([row.pair.length for row in rows], tokens):
        sums += one_pass([rows[index] for index in group])
    return sums
