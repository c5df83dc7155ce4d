"""What a person did in MLflow's own page, seen by comparing its aliases with where a tenant was last known to stand.

Pure. MLflow is right: a difference is never undone, only told.
"""

from dataclasses import dataclass
from typing import Literal

from components.rollout.types import Standing


@dataclass(frozen=True, slots=True)
class Noticed:
    """One alias that is elsewhere; versions are "" where there is none."""

    alias: Literal["champion", "challenger"]
    was: str
    today: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.alias} {self.was or 'none'} -> {self.today or 'none'}"


def noticed(known: Standing | None, champion: str, challenger: str) -> list[Noticed]:
    """The differences; of a tenant that nothing is known of, only a challenger is one."""
    was = known or Standing(tenant="", champion=champion)
    found = [
        Noticed("champion", was.champion, champion),
        Noticed("challenger", was.challenger, "" if challenger == champion else challenger),
    ]
    return [one for one in found if one.was != one.today]
