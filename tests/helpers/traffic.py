"""Traffic of a trial as observations: the same counts in every minute, for both arms."""

from typing import Any

from components.rollout.types import Arm, Observation


def make_cell(arm: Arm, minute: int, **counts: Any) -> Observation:
    """Counts of acme's version 1 (champion) or 2 (challenger) in one minute."""
    version = "2" if arm == "challenger" else "1"
    return Observation(tenant="acme", version=version, arm=arm, minute=minute, **counts)


def make_minutes(count: int, champion: dict[str, Any], challenger: dict[str, Any], start: int = 0) -> list[Observation]:
    """Counts of both arms in each of `count` minutes from `start` on."""
    return [
        make_cell(arm, start + minute, **counts)
        for minute in range(count)
        for arm, counts in (("challenger", challenger), ("champion", champion))
    ]
