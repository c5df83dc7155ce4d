"""PrefixFleet's plugin for vLLM: serves prefixes and LoRA artifacts of many tenants from vLLM, in one batch.

`register` is the entry point of vLLM's general plugins. Installed into vLLM's own environment, so it imports nothing of
PrefixFleet.
"""


def register() -> None:
    """Make the connector known to vLLM by name; called in each of its processes, perhaps several times."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager

    from prefixfleet_vllm.lora_manager_hook import remember_lora_manager

    name = "PrefixFleetConnector"
    if name not in KVConnectorFactory._registry:
        KVConnectorFactory.register_connector(name, "prefixfleet_vllm.connector", name)
    remember_lora_manager(LRUCacheWorkerLoRAManager)
