"""The same artifacts give the same texts from PrefixFleet's own engine, which runs in an environment of its own."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import PLACEHOLDER, Served
from tiny_models import Model
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm import SamplingParams

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "bin" / "python"
TOKENS = 12


@pytest.mark.skipif(not PYTHON.exists(), reason="PrefixFleet's own environment is not installed (make setup)")
def test_32_tenants_in_one_batch(tmp_path: Path, start: Callable[..., Served]) -> None:
    base, script = ROOT / "base", Path(__file__).parent / "helpers" / "own_engine.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [PYTHON, script, base, tmp_path], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout.splitlines()[-1])
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
    served = start(Model(base, model), {"stores": [str(tmp_path)]})
    prompts = [
        {"prompt_token_ids": [PLACEHOLDER] * row["length"] + row["ids"], "cache_salt": row["sha256"]} for row in rows
    ]
    params = [
        SamplingParams(
            temperature=0,
            max_tokens=TOKENS,
            extra_args={
                "kv_transfer_params": {"prefixfleet": {key: row[key] for key in ("sha256", "tenant", "length")}}
            },
        )
        for row in rows
    ]
    outputs = served.llm.generate(prompts, params, use_tqdm=False)
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [tokenizer.decode(output.outputs[0].token_ids, skip_special_tokens=True).strip() for output in outputs]
    assert len(set(texts)) > len(texts) // 2
    assert texts == [row["text"] for row in rows]
