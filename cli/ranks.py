"""Commands that torchrun has started several times: one process runs the command, the others compute with it."""

from collections.abc import Callable

from components.errors import ConfigError
from components.model.ranks import count_processes, join_ranks

_COMMANDS = ("stage", "generate", "serve")


def run_in_rank_0(command: Callable[[], None]) -> None:
    """Run a command; of several processes of torchrun, in the first, with which the others load and use the base."""
    if count_processes() == 1:
        command()
        return
    with join_ranks() as is_first:
        if is_first:
            command()


def check_command(name: str | None) -> None:
    """Check that a command can use several processes of torchrun. Raises ConfigError."""
    if count_processes() > 1 and name not in _COMMANDS:
        got = f"{name}, started {count_processes()} times by torchrun"
        fix = "start it without torchrun; for several GPUs set base.device_map"
        raise ConfigError(f"a command that divides the base: {', '.join(_COMMANDS)}", got, fix)
