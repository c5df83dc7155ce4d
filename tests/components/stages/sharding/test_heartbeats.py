"""Signs of life: a growing counter with worker, activity and steps; a store that fails does not end them."""

import threading

from components.errors import WorkersError
from components.stages.sharding.heartbeats import Heartbeats, compute_interval_s, describe_worker
from components.stages.sharding.messages import HEARTBEAT, Heartbeat


class FakeFolder:
    """Keeps all values; the second write fails."""

    def __init__(self, enough):
        self.values, self.calls, self.enough, self.done = [], 0, enough, threading.Event()

    def put_json(self, name, value):
        assert name == HEARTBEAT
        self.calls += 1
        if self.calls == 2:
            raise WorkersError("a store that answers", "503", "wait")
        self.values.append(Heartbeat.model_validate(value))
        if len(self.values) >= self.enough:
            self.done.set()


def test_heartbeats_count_and_tell_the_last_activity_and_steps(caplog):
    folder = FakeFolder(enough=4)
    with (
        caplog.at_level("WARNING", logger="prefixfleet"),
        Heartbeats(folder, 0.01, "cpu") as heartbeats,
    ):
        heartbeats.set_activity("training")
        heartbeats.set_step("alder", 2)
        heartbeats.set_step("birch", 4)
        folder.done.wait()
    last = folder.values[-1]
    assert (last.worker, last.device, last.activity) == (describe_worker(), "cpu", "training")
    assert last.steps == {"alder": 2, "birch": 4}
    assert [one.counter for one in folder.values][:4] == [1, 3, 4, 5]
    assert "no heartbeat: wanted a store that answers; got 503" in caplog.text
    count = folder.calls
    threading.Event().wait(0.05)
    assert folder.calls == count


def test_several_heartbeats_fit_into_the_time_after_which_a_worker_is_lost():
    assert compute_interval_s(180) == 15
    assert compute_interval_s(6) == 1
