"""The shards of a run by worker: one bar a shard, coloured by its worst result."""

from components.console.charts import Bar, draw_lane
from components.console.nights import WorkerLane, find_lanes, find_period
from components.rollout.store.runs import RunTenant


def make_tenant(name, result="promoted", worker="gpu-1", shard="a", began_s=100.0, ended_s=130.0):
    times = {"began_s": began_s, "ended_s": ended_s, "device_seconds": 5.0}
    return RunTenant(tenant=name, result=result, worker=worker, shard=shard, device="cuda", **times)


def test_each_worker_has_a_lane_with_its_shards_in_order_of_time_and_tenants_without_a_worker_have_none():
    tenants = [
        make_tenant("alder", shard="b", began_s=140.0, ended_s=150.0),
        make_tenant("birch"),
        make_tenant("cedar", "accepted"),
        make_tenant("dale", "rejected", worker="gpu-0"),
        RunTenant(tenant="elm", result="promoted"),
    ]
    assert find_lanes(tenants) == [
        WorkerLane("gpu-0", "cuda", [Bar("1 tenant, 30 s: 1 rejected", 100.0, 130.0, "rejected")], 1, 5.0),
        WorkerLane(
            "gpu-1",
            "cuda",
            [
                Bar("2 tenants, 30 s: 1 promoted, 1 accepted", 100.0, 130.0, "passed"),
                Bar("1 tenant, 10 s: 1 promoted", 140.0, 150.0, "passed"),
            ],
            3,
            15.0,
        ),
    ]
    assert find_period(tenants) == (100.0, 150.0)
    assert find_period([]) == (0.0, 0.0)


def test_a_bar_has_the_colour_of_its_worst_result():
    (lane,) = find_lanes([make_tenant("a", "rejected"), make_tenant("b", "failed"), make_tenant("c")])
    assert lane.bars[0].color == "failed"
    assert 'class="failed"' in draw_lane(lane.bars, 100.0, 130.0, "Shards")
