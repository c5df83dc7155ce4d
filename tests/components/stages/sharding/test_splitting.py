"""Tenants divided into shards by cost, and what is sent instead of a shard whose workers ended by force."""

from hypothesis import given
from hypothesis import strategies as st

from components.stages.sharding.splitting import GivenUp, ShardPlan, divide_after_loss, split_by_cost

NAMES = st.integers(0, 400).map(lambda number: f"t{number}")
COSTS = st.dictionaries(NAMES, st.floats(0.1, 1000.0), max_size=40)


@given(COSTS, st.one_of(st.none(), st.floats(0.5, 5000.0)), st.integers(1, 12))
def test_every_tenant_is_in_one_shard_and_no_shard_is_empty(costs, target, max_shards):
    shards = split_by_cost(costs, target, max_shards)
    assert sorted(tenant for shard in shards for tenant in shard.tenants) == sorted(costs)
    assert all(shard.tenants for shard in shards)
    assert target is not None or len(shards) == min(max_shards, len(costs))


@given(COSTS.filter(bool), st.floats(0.5, 5000.0))
def test_no_shard_is_longer_than_the_target_and_the_longest_tenant_together(costs, target):
    shards = split_by_cost(costs, target, 3)
    loads = [sum(costs[tenant] for tenant in shard.tenants) for shard in shards]
    assert max(loads) <= target + max(costs.values()) + 1e-6
    assert max(loads) - min(loads) <= max(costs.values()) + 1e-6
    assert (
        loads == sorted(loads, reverse=True)
        or max(abs(one - other) for one, other in zip(loads, sorted(loads, reverse=True), strict=True)) < 1e-6
    )


def test_the_tenants_of_a_shard_keep_their_order():
    assert split_by_cost({"c": 1.0, "a": 9.0, "b": 2.0}, 100.0, 4) == [ShardPlan(("c", "a", "b"))]
    assert split_by_cost({"c": 1.0, "a": 9.0, "b": 2.0}, 6.0, 4) == [ShardPlan(("a",)), ShardPlan(("c", "b"))]
    assert split_by_cost({}, None, 4) == []


def lose_whenever_it_has(killer, shard, tries):
    """Play shards until none is left; return the tenants that ended, those given up, and how many workers ended."""
    queue, done, given_up, workers_ended = [shard], [], [], 0
    while queue:
        one = queue.pop(0)
        if isinstance(one, GivenUp):
            given_up.append(one.tenant)
        elif killer in one.tenants:
            workers_ended += 1
            queue += divide_after_loss(one, tries)
        else:
            done += one.tenants
    return done, given_up, workers_ended


@given(st.integers(1, 30), st.integers(0, 29), st.integers(1, 3))
def test_only_the_tenant_that_ends_its_workers_is_given_up_after_few_workers(count, killer, tries):
    tenants = tuple(f"t{number}" for number in range(count))
    name = f"t{killer % count}"
    done, given_up, workers_ended = lose_whenever_it_has(name, ShardPlan(tenants), tries)
    assert given_up == [name]
    assert sorted(done) == sorted(set(tenants) - {name})
    assert workers_ended <= 3 * tries


def test_a_shard_is_sent_again_then_halved_then_sent_tenant_by_tenant():
    shard = ShardPlan(("a", "b", "c", "d", "e"))
    assert divide_after_loss(shard, 2) == [ShardPlan(shard.tenants, losses=1)]
    halves = divide_after_loss(ShardPlan(shard.tenants, losses=1), 2)
    assert halves == [ShardPlan(("a", "b", "c"), divisions=1), ShardPlan(("d", "e"), divisions=1)]
    assert divide_after_loss(ShardPlan(("d", "e"), 1, 1), 2) == [
        ShardPlan(("d",), divisions=2),
        ShardPlan(("e",), divisions=2),
    ]
    assert divide_after_loss(ShardPlan(("e",), 1, 2), 2) == [GivenUp("e")]
