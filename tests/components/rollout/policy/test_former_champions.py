"""A tenant's former champions, from entries of its ledger."""

import pytest

from components.rollout.policy.former_champions import list_former_champions
from components.rollout.types import LedgerEntry


def make_entries(*moves):
    return [
        LedgerEntry(tenant="acme", by="ada", action=action, from_version=old, to_version=new)
        for action, old, new in moves
    ]


@pytest.mark.parametrize(
    ("moves", "former"),
    [
        ([], []),
        ([("promote", "", "1")], []),
        ([("promote", "3", "4"), ("rollback", "4", "3"), ("promote", "3", "5")], ["3"]),
        ([("promote", "2", "5"), ("promote", "5", "3")], ["5", "2"]),
        ([("promote", "1", "2"), ("promote", "2", "3"), ("promote", "3", "4"), ("rollback", "4", "2")], ["1"]),
        ([("promote", "1", "3"), ("rollback", "3", "2")], ["1"]),
        ([("promote", "1", "2"), ("promote", "2", "1"), ("rollback", "1", "2")], []),
        ([("promote", "3", "4"), ("rollback", "4", "3"), ("promote", "3", "4"), ("promote", "4", "5")], ["4", "3"]),
        ([("promote", "1", "2"), ("challenge", "2", "3"), ("advance", "2", "3"), ("rollback", "3", "2")], ["1"]),
        ([("promote", "1", "2"), ("challenge", "2", "3"), ("withdraw", "3", "2"), ("promote", "2", "2")], ["1"]),
        ([("challenge", "1", "2"), ("rollback", "2", "1")], []),
        ([("promote", "1", "2"), ("withdraw", "2", ""), ("promote", "", "3")], ["1"]),
        ([("promote", "1", "2"), ("forget", "", ""), ("promote", "", "1")], []),
        ([("promote", "1", "2"), ("pin", "2", "2"), ("pause", "3", "3"), ("unpin", "2", "2")], ["1"]),
    ],
)
def test_former_champions_are_listed_latest_first(moves, former):
    assert list_former_champions(make_entries(*moves)) == former
