"""Import, the chain behind it, and export, as a person runs them; a checkout with git and DVC, and a tiny base."""

import sys
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

COMMAND = str(Path(sys.executable).with_name("prefixfleet"))
TENSORS = "adapter_model.safetensors"


@pytest.mark.parametrize("command", ["export", "import"])
def test_the_commands_explain_themselves(run_in, tmp_path, command):
    told = run_in(tmp_path, COMMAND, command, "--help").stdout
    assert "--format" in told
    assert "PeftModel" in told


@pytest.mark.slow
def test_a_checkpoint_of_peft_becomes_champion_and_goes_back_out(make_checkout, run_in):
    root = make_checkout(("alder",))
    model = AutoModelForCausalLM.from_pretrained(root / "base")
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, prefix_projection=True)
    model = peft.get_peft_model(model, config)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    model.save_pretrained(root / "theirs")

    told = run_in(root, COMMAND, "import", "alder", "theirs")
    assert "alder: 2 slots imported from theirs" in told.stderr
    assert "0 trained, 1 promoted of 1 tenants" in told.stdout
    (row,) = (line for line in run_in(root, COMMAND, "status").stdout.splitlines() if "alder" in line)
    assert row.rstrip(" │").endswith("no")
    assert run_in(root, COMMAND, "generate", "alder", "thing: boat").returncode == 0
    again = run_in(root, COMMAND, "retrain")
    assert "0 trained, 0 promoted" in again.stdout

    told = run_in(root, COMMAND, "export", "alder", "--out", "ours")
    assert told.stdout.startswith("ours: peft checkpoint of alder, version 1: 2 slots")
    mine, back = (load_file(root / name / TENSORS)["prompt_embeddings"] for name in ("theirs", "ours"))
    assert torch.equal(mine, back)
