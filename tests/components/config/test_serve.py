"""The sections `serve` and `access`: safe defaults, a tenant's own limits, and the values that are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import EvaluateConfig, load_params
from components.config.serve import ServeConfig, VllmConfig, find_unsupported

GOOD = "base: {path: base}\n"


def test_by_default_a_server_is_local_and_its_metrics_need_a_key() -> None:
    config = ServeConfig()
    assert (config.host, config.open_metrics) == ("127.0.0.1", False)


def test_a_tenant_overrides_single_limits(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    own = {"acme": {"access": {"requests_per_minute": 3}}}
    path.write_text(yaml.safe_dump({"base": {"path": "base"}, "access": {"max_rows": 2}, "tenants": own}))
    params = load_params(path)
    assert params.access.requests_per_minute is None
    access = params.for_tenant("acme").access
    assert (access.requests_per_minute, access.max_rows) == (3, 2)


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("serve: {port: 65536}", "serve.port = 65536"),
        ("serve: {follow_seconds: 0}", "serve.follow_seconds = 0"),
        ("serve: {rows: 0}", "serve.rows = 0"),
        ("serve: {prot: 1}", "unknown key 'prot'"),
        ("serve: {vllm: {max_lora_rank: 12}}", "serve.vllm.max_lora_rank = 12"),
        ("serve: {vllm: {max_loras: 9, max_cpu_loras: 8}}", "serve.vllm"),
        ("access: {max_rows: 0}", "access.max_rows = 0"),
        ("access: {requests_per_minute: 0}", "access.requests_per_minute = 0"),
        ("tenants: {acme: {serve: {port: 1}}}", "unknown key 'serve'"),
    ],
)
def test_impossible_values_are_refused(refused, line: str, got: str) -> None:
    assert got in refused(f"{GOOD}{line}\n").got


def test_settings_that_vllm_does_not_have_are_found_in_a_decoding() -> None:
    assert find_unsupported({}) == []
    assert find_unsupported(EvaluateConfig(temperature=0.5, top_k=3, min_new_tokens=2).select_decoding()) == []
    decoding = EvaluateConfig(num_beams=2, banned=["a"], no_repeat_ngram=2, guidance=0.0).select_decoding()
    assert find_unsupported(decoding) == ["guidance", "num_beams", "no_repeat_ngram", "banned"]


@pytest.mark.parametrize(
    ("largest", "method", "rank", "problem"),
    [
        (None, "prefix", None, ""),
        (None, "lora", 8, "method lora, while serve.vllm.max_lora_rank is null"),
        (None, "lora", None, "method lora, while serve.vllm.max_lora_rank is null"),
        (None, "infix", None, "method infix"),
        (8, "lora", 8, ""),
        (8, "lora", None, ""),
        (8, "lora", 9, "method lora of rank 9, above serve.vllm.max_lora_rank = 8"),
        (8, "prefix+lora", 8, "method prefix+lora"),
    ],
)
def test_vllm_answers_with_a_lora_up_to_its_largest_rank(
    largest: Any, method: str, rank: int | None, problem: str
) -> None:
    assert VllmConfig(max_lora_rank=largest).find_problem(method, rank) == problem


def test_vllm_answers_with_no_lora_of_layers_outside_the_blocks() -> None:
    problem = VllmConfig(max_lora_rank=8).find_problem("lora", 8, "lm_head")
    assert problem == "method lora of lm_head: vLLM has LoRA for layers in the base's blocks only"
