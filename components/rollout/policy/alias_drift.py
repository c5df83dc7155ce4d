"""Finds aliases that were moved in MLflow directly, by comparing them with the recorded state of the tenant.

Pure. MLflow's aliases are the truth: a difference is recorded, never undone.
"""

from dataclasses import dataclass
from typing import Literal

from components.rollout.types import RolloutState


@dataclass(frozen=True, slots=True)
class AliasDrift:
    """One alias that is not on the recorded version. A version of "" is none."""

    alias: Literal["champion", "challenger"]
    recorded: str
    current: str

    @property
    def sentence(self) -> str:
        """The change in words, for users."""
        return f"{self.alias} {self.recorded or 'none'} -> {self.current or 'none'}"


def find_alias_drift(known: RolloutState | None, champion: str, challenger: str) -> list[AliasDrift]:
    """Return the aliases that differ from the recorded state, in MLflow's versions `champion` and `challenger`.

    Without a recorded state the champion is taken as it is, and only a challenger is a difference. A challenger that is
    the champion too counts as none.
    """
    recorded = known or RolloutState(tenant="", champion=champion)
    aliases = [
        AliasDrift("champion", recorded.champion, champion),
        AliasDrift("challenger", recorded.challenger, "" if challenger == champion else challenger),
    ]
    return [one for one in aliases if one.recorded != one.current]
