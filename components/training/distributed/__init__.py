"""Training by several processes of one machine: a coordinator and its workers."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.config import BaseConfig, EngineConfig
from components.model.base.load import Base
from components.training.distributed.passes import PassRunner


@contextmanager
def open_pass_runner(base: Base, config: BaseConfig, engine: EngineConfig) -> Iterator[PassRunner]:
    """Inside, `engine.processes` processes are at work, the others with a base of `config`; none stays behind.

    Raises:
        ConfigError: there are not so many GPUs.
        TrainingError: a process cannot begin.
    """
    if engine.processes == 1:
        yield PassRunner()
        return
    from components.training.distributed.coordinator import start_workers

    with start_workers(base, config, engine) as peers:
        yield peers
