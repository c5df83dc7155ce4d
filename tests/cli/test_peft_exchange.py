"""Import, the chain behind it, and export, as a person runs them; a checkout with git and DVC, and a tiny base."""

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TENSORS = "adapter_model.safetensors"


@pytest.mark.parametrize("command", ["export", "import"])
def test_the_commands_explain_themselves(call, tmp_path, command):
    shown = call(tmp_path, command, "--help").stdout
    assert "--format" in shown
    assert "PeftModel" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_checkpoint_of_peft_becomes_champion_and_is_exported_unchanged(make_checkout, call, monkeypatch):
    root = make_checkout(("alder",))
    monkeypatch.chdir(root)
    model = AutoModelForCausalLM.from_pretrained(root / "base")
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, prefix_projection=True)
    model = peft.get_peft_model(model, config)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    model.save_pretrained(root / "theirs")

    shown = call(root, "import", "alder", "theirs")
    assert "alder: 2 slots imported from theirs" in shown.stderr
    assert "0 trained, 1 promoted of 1 tenants" in shown.stdout
    (row,) = (line for line in call(root, "status").stdout.splitlines() if "alder" in line)
    assert row.split()[1] == "healthy"
    assert call(root, "generate", "alder", "thing: boat").exit_code == 0
    assert "0 trained, 0 promoted" in call(root, "retrain").stdout

    shown = call(root, "export", "alder", "--out", "ours")
    assert shown.stdout.startswith("ours: peft checkpoint of alder, version 1: 2 slots")
    imported, exported = (load_file(root / name / TENSORS)["prompt_embeddings"] for name in ("theirs", "ours"))
    assert torch.equal(imported, exported)
