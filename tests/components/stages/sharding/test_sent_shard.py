"""When a shard counts as lost: by the parent's own clock, which ignores pauses, and by counters, not by times."""

import pytest

from components.stages.sharding.messages import Heartbeat
from components.stages.sharding.sent_shard import ObservedClock, SentShard
from components.stages.sharding.splitting import ShardPlan


@pytest.fixture
def shard():
    return SentShard(ShardPlan(("alder",)), None, "run", "shard of alder", 0.0)


def beat(counter, worker="one", activity="training"):
    return Heartbeat(counter=counter, worker=worker, device="cpu", activity=activity)


def test_a_pause_of_the_parent_counts_as_a_few_seconds():
    times = iter((100.0, 101.0, 103.0, 3703.0, 3704.0))
    clock = ObservedClock(lambda: next(times))
    assert [clock.advance() for _ in range(4)] == [1.0, 3.0, 13.0, 14.0]


def test_a_shard_without_a_worker_is_never_lost(shard):
    assert not shard.is_taken
    assert not shard.is_lost(1e6, 10, 60)


def test_a_worker_has_longer_for_its_first_sign_of_life_than_for_the_next(shard):
    shard.observe_phase("running", 5)
    assert not shard.is_lost(60, 10, 60)
    assert shard.is_lost(66, 10, 60)
    assert shard.observe_heartbeat(beat(1), 30)
    assert not shard.is_lost(40, 10, 60)
    assert shard.is_lost(41, 10, 60)


def test_only_a_counter_that_changes_is_a_sign_of_life(shard):
    shard.observe_phase("running", 0)
    assert shard.observe_heartbeat(beat(1), 1)
    assert not shard.observe_heartbeat(beat(1), 9)
    assert shard.changed_s == 1
    assert not shard.observe_heartbeat(beat(2), 9)
    assert shard.changed_s == 9
    assert shard.observe_heartbeat(beat(1, worker="other"), 12)
    assert (shard.worker, shard.changed_s) == ("other", 12)


def test_the_time_of_training_begins_with_the_training_of_the_present_worker(shard):
    shard.observe_heartbeat(beat(1, activity="starting"), 1)
    assert shard.trains_since_s is None
    shard.observe_heartbeat(beat(2), 4)
    shard.observe_heartbeat(beat(3, activity="evaluating"), 6)
    assert shard.trains_since_s == 4
    shard.observe_heartbeat(beat(1, worker="other", activity="starting"), 8)
    assert shard.trains_since_s is None


@pytest.mark.parametrize(("phase", "is_stopped"), [("running", True), ("ended", True), ("cancelling", False)])
def test_a_worker_that_was_told_to_stop_is_not_one_whose_run_was_cancelled(shard, phase, is_stopped):
    shard.observe_phase("running", 0)
    shard.observe_heartbeat(beat(7, activity="stopped"), 1)
    assert not shard.is_stopped
    shard.observe_phase(phase, 2)
    assert shard.is_stopped is is_stopped
