"""Train many tenants in shared passes over the frozen base, each tenant with its own steps.

Every tenant has its own order of examples, loss, gradient clipping, optimizer, schedule, validations, best delta and
checkpoint. When a run ends, the next job starts. A run whose loss is not finite ends with an error and does not affect
the others. Does not know trackers or where data come from.

Nothing is random: the order of examples is a function of seed and epoch, and the base runs without dropout. So a run
alone that was stopped and resumed on the same CPU equals an uninterrupted one bit by bit; a run beside others equals
the run alone up to rounding.
"""

from collections.abc import Iterable, Iterator

from components.config import EngineConfig
from components.errors import PrefixFleetError, TrainingError
from components.model.base.gradient_check import check_gradients
from components.model.base.load import Base
from components.training.distributed.passes import PassRunner
from components.training.run import TrainingJob, TrainResult
from components.training.shard import EndedRun, Shard


def train_together(
    base: Base, jobs: Iterable[TrainingJob], engine: EngineConfig | None = None, pass_runner: PassRunner | None = None
) -> Iterator[EndedRun]:
    """Train every job and yield each run as soon as it ends. Takes the next job when there is room for it.

    A module without parameters (in-context, no slots) is validated once and not trained. Jobs with weights of their
    own (full, adapter, ...) run alone. `pass_runner` computes the passes, by default in this process. Ctrl-C and every
    other exception that is no error (a signal's), closing the iterator and the end of a worker process save all runs.

    The error of an ended run is a TrainingError (no examples, an example too long for the context or too large for the
    memory, a loss that is not finite) or a WorkspaceError (its checkpoint cannot be read or written).

    Raises:
        TrainingError: a worker process ended.
        BaseModelError: the base is quantised, and its kernels compute no gradients.
    """
    check_gradients(base)
    shard = Shard(base, engine or EngineConfig(), pass_runner or PassRunner())
    remaining = iter(jobs)
    job = next(remaining, None)
    try:
        while job is not None or shard.runs:
            while job is not None and shard.can_admit(job):
                problem = shard.admit(job)
                if problem is not None:
                    yield EndedRun(job, problem)
                job = next(remaining, None)
            yield from shard.train_until_a_run_ends()
    except BaseException as stop:
        if isinstance(stop, TrainingError) or not isinstance(stop, Exception):
            shard.save_all()
        raise


def train_alone(base: Base, job: TrainingJob, engine: EngineConfig | None = None) -> TrainResult:
    """Train one job. Raises the error with which its run ended."""
    (ended,) = train_together(base, [job], engine)
    if isinstance(ended.result, PrefixFleetError):
        raise ended.result
    return ended.result
