"""vLLM's own setups are tried in integrations/vllm/tests; here each option alone, on objects with its names."""

from types import SimpleNamespace
from typing import Any

import pytest
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.supported import check_supported, count_loras

FullAttentionSpec = type("FullAttentionSpec", (SimpleNamespace,), {})
SlidingWindowSpec = type("SlidingWindowSpec", (SimpleNamespace,), {})
MLAAttentionSpec = type("MLAAttentionSpec", (SimpleNamespace,), {})
PARALLEL = (
    "pipeline_parallel_size",
    "data_parallel_size",
    "decode_context_parallel_size",
    "prefill_context_parallel_size",
)


def check(
    *specs: Any,
    policy: str = "fail",
    speculative: Any = None,
    runner: str = "generate",
    lora: Any = None,
    device: str = "cuda",
    **parallel: int,
) -> None:
    groups = [SimpleNamespace(kv_cache_spec=spec, layer_names=["layers.0"]) for spec in specs]
    config = SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_load_failure_policy=policy),
        parallel_config=SimpleNamespace(**{**dict.fromkeys(PARALLEL, 1), **parallel}),
        speculative_config=speculative,
        lora_config=lora,
        device_config=SimpleNamespace(device_type=device),
        model_config=SimpleNamespace(runner_type=runner, max_model_len=100, dtype="float32"),
    )
    check_supported(config, SimpleNamespace(kv_cache_groups=groups))


def test_full_attention_and_windows_of_the_whole_context_are_served() -> None:
    full = FullAttentionSpec(sliding_window=None, dtype="float32")
    check(full, SlidingWindowSpec(sliding_window=100, dtype="float32"))
    check(FullAttentionSpec(sliding_window=128, dtype="float32"))


@pytest.mark.parametrize(
    ("spec", "options", "text"),
    [
        (MLAAttentionSpec(dtype="float32"), {}, "MLAAttentionSpec in layers layers.0"),
        (SlidingWindowSpec(sliding_window=99, dtype="float32"), {}, "at most the window, 99"),
        (FullAttentionSpec(sliding_window=99, dtype="float32"), {}, "at most the window, 99"),
        (FullAttentionSpec(attention_chunk_size=50, dtype="float32"), {}, "at most the window, 50"),
        (FullAttentionSpec(dtype="fp8"), {}, "dtype float32; got fp8"),
        (FullAttentionSpec(dtype="float32"), {"policy": "recompute"}, "recompute"),
        (FullAttentionSpec(dtype="float32"), {"speculative": object()}, "speculative"),
        (FullAttentionSpec(dtype="float32"), {"runner": "pooling"}, "pooling"),
        (
            FullAttentionSpec(dtype="float32"),
            {"lora": SimpleNamespace(max_loras=1, max_cpu_loras=9), "device": "cpu"},
            "max-loras of at least 2; got 1 on a CPU",
        ),
        *[(FullAttentionSpec(dtype="float32"), {name: 2}, f"{name} = 1; got 2") for name in PARALLEL],
    ],
)
def test_another_setup_is_refused_by_name(spec: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(PluginError, match=text) as refused:
        check(spec, **options)
    assert refused.value.kind == "setup"


@pytest.mark.parametrize(
    ("device", "loras", "count"),
    [
        ("cuda", None, 0),
        ("cuda", (1, 1), 1),
        ("cuda", (2, 9), 9),
        ("cpu", None, 0),
        ("cpu", (1, 9), 0),
        ("cpu", (4, 9), 3),
        ("cpu", (4, 4), 3),
    ],
)
def test_as_many_loras_as_in_host_memory_and_on_a_cpu_fewer_than_places(
    device: str, loras: tuple[int, int] | None, count: int
) -> None:
    lora = None if loras is None else SimpleNamespace(max_loras=loras[0], max_cpu_loras=loras[1])
    config = SimpleNamespace(lora_config=lora, device_config=SimpleNamespace(device_type=device))
    assert count_loras(config) == count
