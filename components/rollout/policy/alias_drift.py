"""What a person did in MLflow's own page, seen by comparing its aliases with where a tenant was last known to stand.

Pure. MLflow is right: a difference is never undone, only told.
"""

from dataclasses import dataclass
from typing import Literal

from components.rollout.types import RolloutState


@dataclass(frozen=True, slots=True)
class AliasDrift:
    """One alias that is elsewhere; versions are "" where there is none."""

    alias: Literal["champion", "challenger"]
    recorded: str
    current: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.alias} {self.recorded or 'none'} -> {self.current or 'none'}"


def find_alias_drift(known: RolloutState | None, champion: str, challenger: str) -> list[AliasDrift]:
    """The differences; of a tenant that nothing is known of, only a challenger is one."""
    was = known or RolloutState(tenant="", champion=champion)
    found = [
        AliasDrift("champion", was.champion, champion),
        AliasDrift("challenger", was.challenger, "" if challenger == champion else challenger),
    ]
    return [one for one in found if one.recorded != one.current]
