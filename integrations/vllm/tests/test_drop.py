"""Orders: load, status, and drop, after which no trace of an artifact is left in memory or in cached blocks."""

import json
from collections.abc import Callable

import pytest
import torch
from engines import Artifact, Served, make_ids
from tiny_models import Model

IDS = make_ids(40, 5)


@pytest.fixture(scope="module")
def served(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> Served:
    return start(make_tiny("llama"), {"resident_mb": 0.125})


def write_marked(served: Served, length: int, seed: int) -> Artifact:
    """Write an artifact with a few values that nothing else has, so that they can be found in the cache."""
    layers = [
        tuple(torch.round(4 * each) / 4 + 0.0123 for each in pair) for pair in served.model.make_prefix(length, seed)
    ]
    return served.write(length, seed, layers=layers)


def find_slots(served: Served, artifact: Artifact) -> int:
    """Count the values of the cache that are a value of the artifact's first layer."""
    wanted = torch.cat([each.flatten() for each in artifact.layers[0]]).unique()
    caches = served.core.model_executor.driver_worker.worker.model_runner.kv_caches
    return int(sum(torch.isin(cache, wanted).sum() for cache in caches))


def count_residents(served: Served) -> tuple[int, int]:
    """Return how many artifacts the scheduler counts on, and how many the worker holds."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    return len(served.scheduler_side.residents.residents), len(get_kv_transfer_group()._worker._residents)


def test_load_says_whether_it_worked(served: Served) -> None:
    artifact = served.write(5, 1)
    assert served.order(load=artifact.fields) == {"loaded": True}
    reply = served.order(load={**artifact.fields, "length": 4})
    assert (reply["loaded"], reply["kind"]) == (False, "artifact")
    assert "prefix_length 4; got 5" in reply["error"]
    missing = served.order(load={**artifact.fields, "sha256": "0" * 64})
    assert (missing["kind"], missing["loaded"]) == ("artifact", False)
    status = served.order(status=[])
    assert status["artifacts"][artifact.sha256]["state"] == "loaded"
    assert list(status["errors"]) == [artifact.sha256, "0" * 64]
    served.order(drop=[artifact.sha256, "0" * 64])
    assert served.order(status=[])["errors"] == {}


def test_after_a_drop_nothing_is_left_and_others_keep_their_cached_blocks(served: Served) -> None:
    artifact, other = write_marked(served, 70, 2), served.write(33, 3)
    served.check(served.ask(artifact, IDS), served.ask(other, IDS))
    assert find_slots(served, artifact) > 0
    before = count_residents(served)
    assert served.order(drop=[artifact.sha256]) == {"dropped": 1}
    assert find_slots(served, artifact) == 0
    assert count_residents(served) == (before[0] - 1, before[1] - 1)
    assert artifact.sha256 not in json.dumps(served.order(status=[]))
    pool = served.core.scheduler.kv_cache_manager.block_pool
    owners = {owner for block, owner in served.scheduler_side._owners._owners.items() if pool.blocks[block].block_hash}
    assert owners == {other.sha256}
    served.check(served.ask(artifact, IDS), served.ask(other, IDS))


def test_what_a_new_owner_of_a_block_has_not_overwritten_is_erased_too(served: Served) -> None:
    artifact = write_marked(served, 40, 4)
    served.check(served.ask(artifact, [11]))
    pool = served.core.scheduler.kv_cache_manager.block_pool
    pool.reset_prefix_cache()
    others = [served.write(5, 10 + number) for number in range(8)]
    for one in others:  # they take the blocks, and fill them in part
        served.check(served.ask(one, [12]))
    served.order(drop=[artifact.sha256])
    assert find_slots(served, artifact) == 0


def test_a_drop_waits_for_requests_in_flight_and_refuses_new_ones_until_then(served: Served) -> None:
    artifact, engine = write_marked(served, 33, 5), served.llm.llm_engine
    running, late = served.ask(artifact, IDS, 30), served.ask(artifact, IDS)
    drop = {"kv_transfer_params": {"prefixfleet": {"drop": [artifact.sha256]}}}
    from vllm import SamplingParams

    engine.add_request("running", running.prompt, running.params)
    engine.step()
    engine.add_request("drop", {"prompt_token_ids": [7]}, SamplingParams(max_tokens=1, extra_args=drop))
    engine.add_request("late", late.prompt, late.params)
    ended = []
    outputs = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                ended.append(output.request_id)
                outputs[output.request_id] = output
    assert ended == ["late", "running", "drop"]
    assert list(outputs["running"].outputs[0].token_ids) == running.expected
    assert outputs["late"].outputs[0].finish_reason == "error"
    assert outputs["drop"].kv_transfer_params == {"prefixfleet": {"dropped": 1}}
    assert find_slots(served, artifact) == 0


def test_a_pinned_artifact_stays_while_others_come_and_go(served: Served) -> None:
    pinned = served.write(64, 6)
    assert served.order(load=pinned.fields, pinned=True) == {"loaded": True}
    for number in range(5):
        served.check(served.ask(served.write(60, 20 + number), IDS))
    status = served.order(status=[])
    assert status["artifacts"][pinned.sha256]["pinned"]
    assert status["used_bytes"] <= status["limit_bytes"]
    assert len(status["base_digests"][0]) == 64
    reply = served.order(load=served.write(100, 30).fields, pinned=True)
    assert (reply["loaded"], reply["kind"]) == (False, "memory")
    served.order(load=pinned.fields, pinned=False)
    assert not served.order(status=[pinned.sha256])["artifacts"][pinned.sha256]["pinned"]


def test_a_step_does_not_wait_for_a_store(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from prefixfleet_vllm.artifact_store import ArtifactStore

    gate, read_file = threading.Event(), ArtifactStore.read_file
    slow, fast = served.write(5, 40), served.write(5, 41)

    def read_when_open(store: ArtifactStore, folder: str, name: str, limit: int) -> bytes:
        if slow.sha256 in folder:
            gate.wait()
        return read_file(store, folder, name, limit)

    monkeypatch.setattr(ArtifactStore, "read_file", read_when_open)
    engine, asked = served.llm.llm_engine, served.ask(slow, IDS)
    engine.add_request("slow", asked.prompt, asked.params)
    neighbour = served.ask(fast, IDS)
    engine.add_request("fast", neighbour.prompt, neighbour.params)
    ended = []
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                ended.append((output.request_id, list(output.outputs[0].token_ids)))
                gate.set()
    assert ended == [("fast", neighbour.expected), ("slow", asked.expected)]
