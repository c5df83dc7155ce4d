"""What of vLLM's experimental connector interface the plugin stands on: an upgrade that moves it shows here."""

import inspect
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from prefixfleet_vllm import register
from prefixfleet_vllm.connector import PrefixFleetConnector
from prefixfleet_vllm.lora_adapters import make_lora_request
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorTransferResults
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.lora_model import LoRAModel
from vllm.lora.model_manager import LoRAModelManager, LRUCacheLoRAModelManager
from vllm.lora.utils import get_adapter_absolute_path, parse_fine_tuned_lora_name
from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl
from vllm.v1.attention.backends.flash_attn import FlashAttentionImpl
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput
from vllm.v1.request import Request


def list_parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


HOOKS = sorted(
    name
    for name, member in vars(PrefixFleetConnector).items()
    if callable(member) and not name.startswith("_") and name != "request_finished_all_groups"
)


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_has_vllms_signature(name: str) -> None:
    own, theirs = (list_parameters(getattr(one, name)) for one in (PrefixFleetConnector, KVConnectorBase_V1))
    own, theirs = ([each for each in names if each not in ("_", "kwargs")] for names in (own, theirs))
    assert own == theirs


def test_each_hook_is_one_of_vllms() -> None:
    assert [name for name in HOOKS if not hasattr(KVConnectorBase_V1, name)] == []
    assert not inspect.isabstract(PrefixFleetConnector)


def test_a_failed_load_is_reported_by_request() -> None:
    assert {"finished_recving", "failed_recving"} <= set(inspect.signature(KVConnectorTransferResults).parameters)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (SchedulerOutput, {"scheduled_new_reqs", "scheduled_cached_reqs", "num_scheduled_tokens", "preempted_req_ids"}),
        (NewRequestData, {"req_id", "block_ids", "num_computed_tokens"}),
        (CachedRequestData, {"req_ids", "resumed_req_ids", "new_block_ids", "num_computed_tokens"}),
    ],
)
def test_a_step_says_which_blocks_it_uses(kind: type, fields: set[str]) -> None:
    assert fields <= set(kind.__dataclass_fields__)


def test_blocks_can_be_evicted_from_the_cache() -> None:
    assert list_parameters(BlockPool.evict_blocks) == ["self", "block_ids"]


def test_a_request_has_what_is_checked() -> None:
    source = inspect.getsource(Request.__init__)
    for name in ("kv_transfer_params", "cache_salt", "skip_reading_prefix_cache", "resumable", "lora_request"):
        assert f"self.{name}" in source, name


@pytest.mark.parametrize("backend", [CPUAttentionBackendImpl, FlashAttentionImpl])
def test_attention_backends_write_the_cache(backend: type) -> None:
    names = ["self", "layer", "key", "value", "kv_cache", "slot_mapping"]
    assert list_parameters(backend.do_kv_cache_update) == names


def test_the_connector_is_registered_by_its_entry_point() -> None:
    assert "prefixfleet" in entry_points(group="vllm.general_plugins").names


def test_the_lora_manager_is_made_by_the_method_that_is_wrapped() -> None:
    register()
    assert LRUCacheWorkerLoRAManager.create_lora_manager._prefixfleet_remembers
    assert "self._adapter_manager = " in inspect.getsource(LRUCacheWorkerLoRAManager.create_lora_manager)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (LRUCacheLoRAModelManager.add_adapter, ["self", "lora"]),
        (LRUCacheLoRAModelManager.remove_adapter, ["self", "adapter_id"]),
        (BaseLinearLayerWithLoRA.reset_lora, ["self", "index"]),
        (parse_fine_tuned_lora_name, ["name", "weights_mapper"]),
        (Request.update_block_hashes, ["self"]),
    ],
)
def test_lora_has_the_functions_that_are_called(function: Any, parameters: list[str]) -> None:
    assert list_parameters(function) == parameters


def test_lora_has_the_fields_that_are_read() -> None:
    source = inspect.getsource(LoRAModelManager)
    for name in ("modules", "packed_modules", "lora_index_to_id", "model"):
        assert f"self.{name}: " in source, name
    wanted = {"lora_model_id", "tensors", "peft_helper", "device", "dtype", "weights_mapper"}
    assert wanted <= set(list_parameters(LoRAModel.from_lora_tensors))
    assert "self.block_hashes: " in inspect.getsource(Request.__init__)


def test_an_adapter_that_vllm_lacks_is_looked_for_at_a_path_and_never_downloaded() -> None:
    path = make_lora_request(1, "a" * 64).lora_path
    assert get_adapter_absolute_path(path) == path
    assert not Path(path).exists()
