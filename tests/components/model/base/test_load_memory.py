"""Loading holds the weights at most once in the process's own memory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models

HELPER = Path(__file__).parents[3] / "helpers" / "measured_load.py"
"""Its growth includes what the checks of the load compute, and what libraries keep: about 60 MB here."""
SIZES = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 7, "num_attention_heads": 8}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_weights_are_never_twice_in_memory(build_model: Callable[..., Any], tmp_path: Path) -> None:
    build_model("llama", **SIZES, num_key_value_heads=8).save_pretrained(tmp_path)
    tiny_models.make_letters().save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert weights > 150_000_000
    grown = {}
    for dtype in ("float32", "bfloat16"):
        command = [sys.executable, str(HELPER), str(tmp_path), dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
        grown[dtype] = int(done.stdout.splitlines()[-1])
    assert grown["float32"] < 0.5 * weights, "float32 weights stay mapped"
    assert grown["bfloat16"] < weights, "half the size once, and less than that of everything else"
