"""Which worker trained which tenant, as far as the exchange knows."""

from components.stages.outcome import TenantOutcome
from components.stages.sharding.exchange_sets import locate_shard
from components.stages.sharding.messages import OUTCOMES, ShardOutcomes
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore
from infra.services.demo_fleet import read_trainings


def test_the_last_training_of_every_tenant_is_named_with_its_worker(tmp_path):
    store = ObjectStore(f"file://{tmp_path}/exchange")
    assert read_trainings(store, lambda shard: None) == []

    def end_shard(name: str, worker: str, **states: str) -> None:
        outcomes = [TenantOutcome(tenant, "train", state) for tenant, state in states.items()]
        ended = ShardOutcomes(worker=worker, device="cpu", outcomes=outcomes)
        Exchange(store).open(*locate_shard(name)).put_json(OUTCOMES, ended.model_dump(mode="json"))

    end_shard("b", "host-1", alder="done", birch="done")
    end_shard("a", "host-2", birch="done", cedar="failed")
    Exchange(store).open(*locate_shard("c")).put_json("request", {})
    assert read_trainings(store, lambda shard: None) == [("alder", "host-1", "cpu"), ("birch", "host-2", "cpu")]
    named = read_trainings(store, lambda shard: "worker gpu-1" if shard == "b" else None)
    assert named == [("alder", "worker gpu-1", "cpu"), ("birch", "host-2", "cpu")]
