"""After a drop nothing of a LoRA artifact is left: not in vLLM's LoRA, on the device, nor in cached blocks."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from engines import Artifact, Served, make_ids
from tiny_models import Model

IDS = make_ids(40, 5)
LORA: dict[str, Any] = {"enable_lora": True, "max_lora_rank": 8, "max_loras": 4, "max_cpu_loras": 4}
"""On a CPU the plugin leaves one place empty, so it holds three."""


@pytest.fixture(scope="module")
def served(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> Served:
    return start(make_tiny("llama"), **LORA)


def write_marked(served: Served, seed: int) -> Artifact:
    """Write an artifact of few values that nothing else has, so that they can be found on the device."""
    mark = 0.0003 + 0.001 * seed
    matrices = {
        path: (torch.round(8 * a) / 8 + mark, torch.round(8 * b) / 8 + mark)
        for path, (a, b) in served.model.make_lora(8, seed).items()
    }
    return served.write_lora(8, seed, matrices=matrices)


def list_device_tensors(served: Served) -> Iterator[torch.Tensor]:
    for layer in served.lora_manager.modules.values():
        yield from (*layer.lora_a_stacked, *layer.lora_b_stacked)


def count_traces(served: Served, artifact: Artifact) -> int:
    """Count the values on the device that are a value of the artifact; B is scaled there by alpha / rank = 2."""
    wanted = torch.cat([each.flatten() for a, b in artifact.matrices.values() for each in (a, 2 * b)]).unique()
    return int(sum(torch.isin(one, wanted).sum() for one in list_device_tensors(served)))


def is_held(served: Served, artifact: Artifact) -> bool:
    """Whether vLLM holds the artifact's matrices in host memory."""
    wanted = [a for a, _ in artifact.matrices.values()]
    held = [
        each
        for adapter in served.lora_manager.list_adapters().values()
        for layer in adapter.loras.values()
        for each in (layer.lora_a if isinstance(layer.lora_a, list) else [layer.lora_a])
        if each is not None
    ]
    return any(torch.equal(one, other) for one in wanted for other in held)


def test_after_a_drop_nothing_is_left_and_others_keep_their_adapters_and_blocks(served: Served) -> None:
    artifact, other = write_marked(served, 1), write_marked(served, 2)
    served.check(served.ask(artifact, IDS), served.ask(other, IDS))
    assert count_traces(served, artifact) > 0
    assert is_held(served, artifact)
    status = served.order(status=[artifact.sha256])["artifacts"][artifact.sha256]
    size = sum(each.numel() * 4 for pair in artifact.matrices.values() for each in pair)
    assert status == {"tenant": "tenant-1", "method": "lora", "state": "loaded", "bytes": size, "pinned": False}
    assert served.order(drop=[artifact.sha256]) == {"dropped": 1}
    assert count_traces(served, artifact) == 0
    assert not is_held(served, artifact)
    assert artifact.sha256 not in json.dumps(served.order(status=[]))
    pool = served.core.scheduler.kv_cache_manager.block_pool
    owners = {owner for block, owner in served.scheduler_side._owners._owners.items() if pool.blocks[block].block_hash}
    assert owners == {other.sha256}
    assert count_traces(served, other) > 0
    served.check(served.ask(artifact, IDS), served.ask(other, IDS))


def test_evicted_adapters_leave_vllm_too(served: Served) -> None:
    artifacts = [write_marked(served, seed) for seed in range(10, 16)]
    for one in artifacts:
        served.check(served.ask(one, IDS))
    assert len(served.lora_manager.list_adapters()) == 3
    assert [is_held(served, one) for one in artifacts] == [False] * 3 + [True] * 3
    assert [count_traces(served, one) for one in artifacts[:3]] == [0] * 3


def test_a_drop_waits_for_requests_in_flight_and_refuses_new_ones_until_then(served: Served) -> None:
    from vllm import SamplingParams

    artifact, engine = write_marked(served, 20), served.llm.llm_engine
    running, late = served.ask(artifact, IDS, 30), served.ask(artifact, IDS)
    drop = {"kv_transfer_params": {"prefixfleet": {"drop": [artifact.sha256]}}}
    engine.add_request("running", running.prompt, running.params)
    engine.step()
    engine.add_request("drop", {"prompt_token_ids": [7]}, SamplingParams(max_tokens=1, extra_args=drop))
    engine.add_request("late", late.prompt, late.params)
    outputs = {}
    while engine.has_unfinished_requests():
        outputs |= {output.request_id: output for output in engine.step() if output.finished}
    assert list(outputs) == ["late", "running", "drop"]
    assert list(outputs["running"].outputs[0].token_ids) == running.expected
    assert outputs["late"].outputs[0].finish_reason == "error"
    assert outputs["drop"].kv_transfer_params == {"prefixfleet": {"dropped": 1}}
    assert (count_traces(served, artifact), is_held(served, artifact)) == (0, False)


def test_a_pinned_adapter_stays_while_others_come_and_go(served: Served) -> None:
    pinned = [write_marked(served, seed) for seed in (30, 31)]
    for one in pinned:
        assert served.order(load=one.fields, pinned=True) == {"loaded": True}
    for seed in range(32, 36):
        served.check(served.ask(write_marked(served, seed), IDS))
    assert all(is_held(served, one) for one in pinned)
    assert served.order(load=write_marked(served, 36).fields, pinned=True) == {"loaded": True}
    reply = served.order(load=write_marked(served, 37).fields)
    assert (reply["loaded"], reply["kind"]) == (False, "memory")
    assert "3 of 3 places" in reply["error"]
    served.order(drop=[pinned[0].sha256])
    served.check(served.ask(write_marked(served, 38), IDS), served.ask(pinned[1], IDS))
