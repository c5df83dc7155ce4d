"""Aliases that were moved in MLflow, compared with the recorded state."""

import pytest

from components.rollout.policy.alias_drift import find_alias_drift
from components.rollout.types import RolloutState

KNOWN = RolloutState(tenant="acme", champion="1", challenger="2")


@pytest.mark.parametrize(
    ("known", "champion", "challenger", "drift"),
    [
        (KNOWN, "1", "2", []),
        (KNOWN, "1", "", ["challenger 2 -> none"]),
        (KNOWN, "2", "2", ["champion 1 -> 2", "challenger 2 -> none"]),
        (KNOWN, "", "3", ["champion 1 -> none", "challenger 2 -> 3"]),
        (None, "1", "", []),
        (None, "1", "2", ["challenger none -> 2"]),
    ],
)
def test_a_moved_alias_is_found(known, champion, challenger, drift):
    assert [one.sentence for one in find_alias_drift(known, champion, challenger)] == drift
