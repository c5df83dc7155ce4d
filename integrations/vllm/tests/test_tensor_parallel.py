"""Two ranks that divide the heads between them give the same texts, and both hold and drop the same artifacts."""

from collections.abc import Callable

import pytest
from engines import Served, make_ids
from tiny_models import Model


@pytest.fixture(autouse=True)
def one_processor_for_each_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM wants a NUMA node for each rank otherwise."""
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")


def test_texts_and_orders_with_two_ranks(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> None:
    served = start(make_tiny("llama"), tensor_parallel_size=2, distributed_executor_backend="mp")
    artifacts = [served.write(length, length) for length in (1, 5, 31, 33, 64)]
    asked = [served.ask(one, make_ids(12, one.length)) for one in artifacts]
    damaged = served.write(5, 99)
    (served.store / damaged.sha256 / "prefix.safetensors").write_bytes(b"")
    served.check(*asked, served.ask(damaged, make_ids(9, 1), fails=True), served.ask(None, make_ids(9, 1)))
    assert served.order(drop=[artifacts[3].sha256]) == {"dropped": 1}
    served.check(*asked)


def test_loras_with_two_ranks(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> None:
    served = start(
        make_tiny("llama"),
        tensor_parallel_size=2,
        distributed_executor_backend="mp",
        enable_lora=True,
        max_lora_rank=8,
        max_loras=4,
        max_cpu_loras=4,
    )
    layers = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    loras = [served.write_lora(8, seed, matrices=served.model.make_lora(8, seed, layers)) for seed in range(4)]
    asked = [served.ask(one, make_ids(12, seed)) for seed, one in enumerate([*loras, served.write(33, 9)])]
    damaged = served.write_lora(8, 99)
    (served.store / damaged.sha256 / "prefix.safetensors").write_bytes(b"")
    served.check(*asked, served.ask(damaged, make_ids(9, 1), fails=True), served.ask(None, make_ids(9, 1)))
    assert served.order(drop=[loras[3].sha256]) == {"dropped": 1}
    served.check(*asked)
