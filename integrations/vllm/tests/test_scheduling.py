"""The texts stay the same however vLLM schedules: small blocks, chunks, no prefix cache, too little memory."""

from collections.abc import Callable
from typing import Any

import pytest
from engines import Served, make_ids
from tiny_models import Model

OPTIONS: dict[str, dict[str, Any]] = {
    "blocks of 64": {"block_size": 64},
    "no prefix cache": {"enable_prefix_caching": False},
    "prefill in chunks": {"max_num_batched_tokens": 40, "enable_chunked_prefill": True},
    "preemption": {"num_gpu_blocks_override": 14, "max_num_seqs": 8},
    "one artifact in memory at a time": {"settings": {"resident_mb": 0.25}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_texts_of_12_tenants(name: str, make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> None:
    served = start(make_tiny("llama"), **OPTIONS[name])
    artifacts = [served.write((5, 31, 33, 64)[number % 4], number) for number in range(12)]
    tokens = 60 if name == "preemption" else 8
    asked = [
        served.ask(artifact, make_ids(20 + number, number), tokens)
        for turn in range(2)
        for number, artifact in enumerate(artifacts)
    ]
    served.check(*asked)
    residents = served.scheduler_side.residents
    assert residents.used_bytes <= residents.limit_bytes
    assert (residents.evictions > 0) == (name == "one artifact in memory at a time")
    if name == "preemption":
        assert served.count_preemptions() > 0


@pytest.mark.parametrize("kind", ["mistral", "gemma3"])
def test_sliding_windows_as_long_as_the_context(
    kind: str, make_tiny: Callable[[str], Model], start: Callable[..., Served]
) -> None:
    served = start(make_tiny(kind), max_model_len=64)
    artifacts = [served.write(length, length) for length in (1, 16, 31, 33)]
    served.check(*[served.ask(one, make_ids(12, one.length)) for one in artifacts], served.ask(None, make_ids(9, 1)))
