"""What is kept of a tenant's versions, and what may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import RetentionConfig
from components.registry.mlflow.versions import Version
from components.stages.retention.policy import Uses, choose_removable

NOW_S, DAY_S = 1e9, 86_400.0


def make(number, *, days=100.0, base="a", aliases=(), sha256=None):
    digest = sha256 or f"{number:064x}"
    tags = {"base_digest": base, "sha256": digest}
    return Version("acme", str(number), aliases, sha256=digest, tags=tags, created_s=NOW_S - days * DAY_S)


def choose(versions, uses=None, **limits):
    found = choose_removable(versions, uses or Uses(), RetentionConfig(**{"versions": 2, "days": 30, **limits}), NOW_S)
    return [int(one.version) for one in found]


def test_old_versions_beyond_the_newest_go():
    assert choose([make(number) for number in range(1, 13)]) == list(range(1, 11))
    assert choose([make(1), make(2)]) == []


def test_the_newest_of_each_base_stay():
    assert choose([make(1, base="a"), make(2, base="a"), make(3, base="a"), make(4, base="b")]) == [1]


def test_young_versions_stay():
    assert choose([make(1, days=31), make(2, days=29), make(3), make(4)]) == [1]


@pytest.mark.parametrize(
    "uses", [Uses(numbers={"1"}), Uses(sha256s={f"{1:064x}"}), Uses(former_champions=["9", "5", "1"])]
)
def test_versions_in_use_stay(uses):
    assert 1 not in choose([make(number) for number in range(1, 6)], uses)


def test_only_the_latest_two_former_champions_stay():
    versions = [make(number) for number in range(1, 9)]
    assert choose(versions, Uses(former_champions=["5", "4", "2"])) == [1, 2, 3, 6]


def test_versions_with_an_alias_and_those_of_other_makers_stay():
    foreign = Version("acme", "2", created_s=1.0)
    unread = Version("acme", "3", sha256="b" * 64, tags={"sha256": "b" * 64})
    assert choose([make(1, aliases=("blue",)), foreign, unread, *[make(number) for number in range(4, 7)]]) == [4]


@given(
    st.lists(st.tuples(st.floats(0, 400), st.sampled_from("ab"), st.booleans()), max_size=30),
    st.integers(1, 5),
    st.floats(0, 300),
)
def test_whatever_goes_is_old_unnamed_and_not_among_the_newest(drawn, kept, days):
    versions = [
        make(number, days=age, base=base, aliases=("x",) if named else ())
        for number, (age, base, named) in enumerate(drawn, 1)
    ]
    limits = RetentionConfig(versions=kept, days=days)
    removed = {int(one.version) for one in choose_removable(versions, Uses(), limits, NOW_S)}
    for one in versions:
        newer = [other for other in versions if other.tags == {**other.tags, "base_digest": one.tags["base_digest"]}]
        rank = sum(int(other.version) > int(one.version) for other in newer)
        may_go = rank >= kept and not one.aliases and one.created_s < NOW_S - days * DAY_S
        assert (int(one.version) in removed) == may_go
