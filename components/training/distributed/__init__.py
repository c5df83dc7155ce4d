"""Training with several processes on one machine: a coordinator and its workers."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.config import BaseConfig, EngineConfig
from components.model.base.load import Base
from components.model.base.tensor_parallel import is_tensor_parallel
from components.training.distributed.passes import PassRunner


@contextmanager
def open_pass_runner(base: Base, config: BaseConfig, engine: EngineConfig) -> Iterator[PassRunner]:
    """Start `engine.processes` - 1 workers, each with a base loaded from `config`; stop them after the block.

    Raises:
        ConfigError: there are fewer GPUs than processes; or torchrun has started this command several times, and
            `engine.processes` is above 1.
        BaseModelError: the base is divided among the processes of torchrun, and its rows cannot be packed.
        TrainingError: a worker cannot start.
    """
    if is_tensor_parallel(base.model):
        from components.training.distributed.ranks import RankPassRunner

        yield RankPassRunner(base, engine)
        return
    if engine.processes == 1:
        yield PassRunner()
        return
    from components.training.distributed.coordinator import start_workers

    with start_workers(base, config, engine) as pass_runner:
        yield pass_runner
