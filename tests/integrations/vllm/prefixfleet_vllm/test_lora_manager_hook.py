import gc
from typing import Any

from prefixfleet_vllm.lora_manager_hook import find_lora_manager, remember_lora_manager


class Manager:
    """What a maker makes."""


class Maker:
    """As vLLM's worker manager of LoRAs: it makes a manager for a model, and keeps it."""

    def create_lora_manager(self, model: Any, vllm_config: Any) -> Any:
        self._adapter_manager = Manager()
        return model, vllm_config


def test_the_newest_manager_is_found_while_its_maker_lives() -> None:
    assert find_lora_manager() is None
    for _ in range(2):
        remember_lora_manager(Maker)
    first, second = Maker(), Maker()
    assert first.create_lora_manager("model", vllm_config="config") == ("model", "config")
    assert find_lora_manager() is first._adapter_manager
    second.create_lora_manager("model", "config")
    assert find_lora_manager() is second._adapter_manager
    del second
    gc.collect()
    assert find_lora_manager() is None
