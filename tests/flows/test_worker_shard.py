"""The flow of a worker without a Prefect server: its end states, and a stop while it works."""

import time

import pytest

from components.errors import WorkersError
from components.stages.outcome import TenantOutcome
from components.stages.sharding import worker
from components.stages.sharding.messages import HEARTBEAT, Heartbeat
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore
from flows import worker_shard


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A function of what the worker does to the flow's end state; the shard is `one` in a folder as exchange."""
    monkeypatch.setenv("PREFIXFLEET_WORKER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(worker_shard, "_read_state", lambda _client, _run_id: None)
    monkeypatch.setattr(worker_shard, "_WATCH_S", 0.01)
    url = (tmp_path / "exchange").as_uri()
    heartbeat = Heartbeat(counter=4, worker="host:1", device="cpu", activity="training")
    Exchange(ObjectStore(url)).open("shards", "one").put_json(HEARTBEAT, heartbeat.model_dump(mode="json"))

    def call(work):
        monkeypatch.setattr(worker, "run_shard", work)
        return worker_shard.train_shard.fn(url, "one")

    call.read = lambda: Heartbeat.model_validate(Exchange(ObjectStore(url)).open("shards", "one").get_json(HEARTBEAT))
    return call


def train_until_stopped(_url, _shard, _home, stop):
    while not stop():
        time.sleep(0.01)
    return [TenantOutcome("alder", "train", "failed", "stopped")]


def test_the_state_names_the_tenants_that_failed(run, tmp_path):
    seen = []
    outcomes = [TenantOutcome("alder", "train", "done"), TenantOutcome("birch", "train", "failed", "x")]

    def work(url, shard, home, stop):
        seen.append((shard, home, stop()))
        return outcomes

    state = run(work)
    assert seen == [("one", tmp_path / "home", False)]
    assert (state.type.value, state.message) == ("FAILED", "1 of 2 tenants trained and evaluated; failed: birch")
    assert run(lambda *_: outcomes[:1]).type.value == "COMPLETED"


def test_an_error_for_users_is_a_refusal_and_any_other_is_raised(run):
    def refuse(*_):
        raise WorkersError("code version 1", "2", "install it")

    state = run(refuse)
    assert (state.type.value, state.name) == ("FAILED", "Refused")
    assert state.message == "wanted code version 1; got 2; install it"

    def crash(*_):
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(crash)


def test_a_signal_lets_the_work_save_and_tells_the_parent(run, monkeypatch):
    class Stop(BaseException):
        pass

    wait, waits = worker_shard._Work.wait, []

    def interrupt(work):
        waits.append(work)
        if len(waits) == 1:
            raise Stop
        wait(work)

    monkeypatch.setattr(worker_shard._Work, "wait", interrupt)
    with pytest.raises(Stop):
        run(train_until_stopped)
    assert waits[0].outcomes[0].detail == "stopped"
    assert (run.read().counter, run.read().activity) == (5, "stopped")


def test_a_run_that_is_cancelled_in_prefect_stops_by_itself(run, monkeypatch):
    monkeypatch.setattr(worker_shard, "_read_state", lambda _client, _run_id: worker_shard.StateType.CANCELLING)
    state = run(train_until_stopped)
    assert (state.type.value, state.message) == ("CANCELLED", "this run is cancelling")
    assert run.read().activity == "training"


def test_a_run_whose_worker_is_gone_stops_and_tells_the_parent(run, monkeypatch):
    parents = iter([10, 10, 1])
    monkeypatch.setattr(worker_shard.os, "getppid", lambda: next(parents, 1))
    with pytest.raises(RuntimeError, match="the worker process that started this run has ended"):
        run(train_until_stopped)
    assert run.read().activity == "stopped"
