"""Which setups of vLLM the plugin serves correctly; every other one is refused by name at the start.

Knows vLLM's configuration objects by their attributes; does not know artifacts.
"""

from typing import Any

from prefixfleet_vllm.errors import PluginError

_SINGLE = {
    "pipeline_parallel_size": "a worker would not know the numbers of its layers",
    "data_parallel_size": "an order to drop would reach one replica only; start one server for each GPU",
    "decode_context_parallel_size": "it spreads the tokens of a block over ranks",
    "prefill_context_parallel_size": "it spreads the tokens of a block over ranks",
}
_FIX = "change this option of vLLM, or serve the base with PrefixFleet's own engine"


def check_supported(vllm_config: Any, kv_cache_config: Any) -> None:
    """Check how vLLM was started.

    Raises:
        PluginError: the setup is one in which answers could be wrong; the message names the option or the layers.
    """
    transfer, parallel = vllm_config.kv_transfer_config, vllm_config.parallel_config
    if transfer.kv_load_failure_policy != "fail":
        got = f"{transfer.kv_load_failure_policy!r}: it would compute the placeholders as text"
        raise PluginError("setup", "kv_load_failure_policy 'fail'", got, _FIX)
    for option, reason in _SINGLE.items():
        if (value := getattr(parallel, option)) != 1:
            raise PluginError("setup", f"{option} = 1", f"{value}; {reason}", _FIX)
    if vllm_config.speculative_config is not None:
        got = "a speculative_config: a draft model has no prefix"
        raise PluginError("setup", "no speculative decoding", got, _FIX)
    if vllm_config.model_config.runner_type != "generate":
        raise PluginError("setup", "a model that generates text", vllm_config.model_config.runner_type, _FIX)
    if vllm_config.lora_config is not None and not count_loras(vllm_config):
        got = f"{vllm_config.lora_config.max_loras} on a CPU, where one place has to stay empty"
        raise PluginError("setup", "--max-loras of at least 2", got, _FIX)
    context = vllm_config.model_config.max_model_len
    for group in kv_cache_config.kv_cache_groups:
        _check_spec(group.kv_cache_spec, group.layer_names, context, vllm_config.model_config.dtype)


def count_loras(vllm_config: Any) -> int:
    """Return how many LoRA artifacts a worker may hold; 0: vLLM runs without LoRA.

    On a CPU vLLM 0.32 gives tokens without a LoRA the one in the last place of the batch. The last place is never taken
    if there are fewer LoRAs than places.
    """
    lora = vllm_config.lora_config
    if lora is None:
        return 0
    return min(lora.max_cpu_loras, lora.max_loras - 1) if _is_cpu(vllm_config) else int(lora.max_cpu_loras)


def _is_cpu(vllm_config: Any) -> bool:
    return bool(vllm_config.device_config.device_type == "cpu")


def _check_spec(spec: Any, layer_names: list[str], context: int, dtype: Any) -> None:
    name, where = type(spec).__name__, f"layers {layer_names[0]} ..."
    if name not in ("FullAttentionSpec", "SlidingWindowSpec"):
        raise PluginError("setup", "layers with full attention", f"{name} in {where}", _FIX)
    windows = [getattr(spec, option, None) for option in ("sliding_window", "attention_chunk_size")]
    window = min((window for window in windows if window), default=context)
    if window < context:
        wanted = (
            f"a max_model_len of at most the window, {window}: slots are visible to all tokens, vLLM's windows move on"
        )
        raise PluginError("setup", wanted, f"{context} with sliding windows in {where}", _FIX)
    if spec.dtype != dtype:
        raise PluginError("setup", f"a KV cache of the model's dtype {dtype}", f"{spec.dtype} in {where}", _FIX)
