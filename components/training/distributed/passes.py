"""Run the passes of a step in this process; the interface for running them with several processes.

The caller passes all rows of a step and gets their sums, with the gradients in its own tensors. Knows passes; does not
know optimizers or steps.
"""

from collections.abc import Sequence

from components.data.batches import group_by_tokens
from components.training.objective import LossSums, StepDeltas, TrainingExample


class PassRunner:
    """Runs all passes in this process."""

    process_count: int = 1
    """Processes among which the rows of a step are divided."""

    def run_passes(
        self, deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool, checkpointing: bool
    ) -> LossSums:
        """Return the sums of all rows, in passes of at most `tokens` tokens; with `train` also add their gradients.

        `checkpointing`: whether gradient checkpointing is active on the base.

        Raises:
            RuntimeError, MemoryError: out of memory; `deltas` may hold a part of the gradients.
            TrainingError: a worker process ended.
        """
        del checkpointing
        return run_local_passes(deltas, rows, tokens, train=train)


def run_local_passes(deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool) -> LossSums:
    """Run all passes in this process; see `PassRunner.run_passes`."""
    run_pass = deltas.backward if train else deltas.compute_sums
    sums = LossSums.make_zeros(deltas.tenant_count, deltas.base.device)
    for group in group_by_tokens([row.pair.length for row in rows], tokens):
        sums += run_pass([rows[index] for index in group])
    return sums
