"""The same artifacts give the same texts from PrefixFleet's own engine, which runs in an environment of its own."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import PLACEHOLDER, Served
from tiny_models import Model
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm import SamplingParams

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "bin" / "python"
TOKENS = 12


pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="PrefixFleet's own environment is not installed (make setup)"
)


def ask_own_engine(base: Path, store: Path, method: str) -> list[dict[str, Any]]:
    script = Path(__file__).parent / "helpers" / "own_engine.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [PYTHON, script, base, store, method]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=store)
    assert run.returncode == 0, run.stderr
    rows: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return rows


def compare_texts(served: Served, rows: list[dict[str, Any]]) -> None:
    """Answer all rows in one batch, and compare their texts."""
    prompts = [
        {"prompt_token_ids": [PLACEHOLDER] * row["length"] + row["ids"], "cache_salt": row["sha256"]} for row in rows
    ]
    named = [
        {"sha256": row["sha256"], "tenant": row["tenant"]}
        | ({"length": row["length"]} if row["length"] else {"method": "lora"})
        for row in rows
    ]
    params = [
        SamplingParams(temperature=0, max_tokens=TOKENS, extra_args={"kv_transfer_params": {"prefixfleet": one}})
        for one in named
    ]
    outputs = served.llm.generate(prompts, params, use_tqdm=False)
    tokenizer = AutoTokenizer.from_pretrained(served.model.folder)
    texts = [tokenizer.decode(output.outputs[0].token_ids, skip_special_tokens=True).strip() for output in outputs]
    assert len(set(texts)) > len(texts) // 2
    assert texts == [row["text"] for row in rows]


def test_loras_of_32_tenants_on_the_shape_of_qwen2(
    tmp_path: Path, make_tiny: Callable[[str], Model], start: Callable[..., Served]
) -> None:
    """Its queries, keys and values have biases."""
    model = make_tiny("qwen2")
    rows = ask_own_engine(model.folder, tmp_path, "lora")
    lora: dict[str, Any] = {"enable_lora": True, "max_lora_rank": 8, "max_loras": 8, "max_cpu_loras": 8}
    compare_texts(start(model, {"stores": [str(tmp_path)]}, **lora), rows)


def test_32_tenants_in_one_batch(tmp_path: Path, start: Callable[..., Served]) -> None:
    base = ROOT / "base"
    rows = ask_own_engine(base, tmp_path, "prefix")
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
    compare_texts(start(Model(base, model), {"stores": [str(tmp_path)]}), rows)
