"""What a stage tells its caller while it works, and how the caller ends it early. Does not know who calls."""

from collections.abc import Callable
from dataclasses import dataclass

from components.errors import TrainingError
from components.stages.outcome import TenantOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class StageHooks:
    """Functions that a stage calls. The defaults do nothing and stop nothing."""

    on_checkpoint: Callable[[str, int], None] = lambda _tenant, _step: None
    """Called with tenant and step when a validation and the state of the training are saved."""
    on_finished: Callable[[TenantOutcome], None] = lambda _outcome: None
    """Called with the outcome of each tenant when its files are written; may not be called for a tenant that failed."""
    stop: Callable[[], bool] = lambda: False
    """Called before every step and for every decoded row. If True, trainings are saved and unfinished tenants fail."""

    def check_stop(self, tenant: str) -> None:
        """Raise TrainingError if the caller stops the stage before the tenant is finished."""
        if self.stop():
            raise TrainingError(f"{tenant} finished", "a stop on the way", "run again: finished work is not repeated")


NO_HOOKS = StageHooks()
