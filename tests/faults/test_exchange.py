"""Invalid checkpoints, checkpoints of another base, and exports to a used path: refused, and no file is changed."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

CONFIG, TENSORS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
FIELDS = {
    "base_model_name_or_path": "base",
    "num_attention_heads": 2,
    "num_layers": 2,
    "num_transformer_submodules": 1,
    "num_virtual_tokens": 2,
    "peft_type": "PREFIX_TUNING",
    "task_type": "CAUSAL_LM",
    "token_dim": 16,
}


@pytest.fixture
def root(make_checkout, call):
    root = make_checkout(("alder",))
    assert call(root, "stage", "base").exit_code == 0
    return root


def write_checkpoint(folder, **fields):
    """Write a checkpoint as PEFT does; its tensors have the sizes in `fields`. Return its folder."""
    config = FIELDS | fields
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config))
    width = 2 * config["num_layers"] * config["token_dim"]
    save_file({"prompt_embeddings": torch.ones(config["num_virtual_tokens"], width)}, folder / TENSORS)
    return folder


def no_folder(folder):
    shutil.rmtree(folder)


def no_config(folder):
    (folder / CONFIG).unlink()


def no_tensors(folder):
    (folder / TENSORS).unlink()


def a_pickle(folder):
    (folder / TENSORS).rename(folder / PICKLE)


def cut(folder):
    content = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(content[: len(content) // 2])


def broken_config(folder):
    (folder / CONFIG).write_text((folder / CONFIG).read_text()[:-5])


def not_finite(folder):
    save_file({"prompt_embeddings": torch.full((2, 64), torch.nan)}, folder / TENSORS)


def a_lora(folder):
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 8, "task_type": "CAUSAL_LM"}))


def a_soft_prompt(folder):
    write_checkpoint(folder, peft_type="PROMPT_TUNING")


def sequence_to_sequence(folder):
    write_checkpoint(folder, task_type="SEQ_2_SEQ_LM", num_transformer_submodules=2)


def more_layers(folder):
    write_checkpoint(folder, num_layers=3, base_model_name_or_path="gpt2-large")


def other_heads(folder):
    write_checkpoint(folder, num_attention_heads=4)


def longer(folder):
    write_checkpoint(folder, num_virtual_tokens=3)


def longer_than_the_context(folder):
    write_checkpoint(folder, num_virtual_tokens=160)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_folder, ["no folder", "correct the path"]),
        (no_config, [f"no {CONFIG}"]),
        (no_tensors, [f"tensors in {TENSORS}"]),
        (a_pickle, [f"only {PICKLE}", "safe_serialization=True"]),
        (cut, ["a valid safetensors file", TENSORS]),
        (broken_config, [f"an {CONFIG} in JSON"]),
        (not_finite, ["finite floating-point values", "NaN"]),
        (a_lora, ["a PEFT checkpoint of PREFIX_TUNING", "one of LORA"]),
        (a_soft_prompt, ["one of PROMPT_TUNING"]),
        (sequence_to_sequence, ["SEQ_2_SEQ_LM"]),
        (more_layers, ["for base: 2 layers x 2 key/value heads x 8", "one of 3 layers", "trained on gpt2-large"]),
        (other_heads, ["one of 2 layers x 4 key/value heads x 4", "set base.path"]),
        (longer, ["set tenants.alder.train.prefix_length: 3 in params.yaml"]),
        (longer_than_the_context, ["160 slots", "context of base, 160 tokens"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_invalid_checkpoint_is_refused_and_no_file_is_changed(root, tmp_path, refused, tree, harm, words):
    checkpoint = write_checkpoint(tmp_path / "theirs")
    harm(checkpoint)
    before = tree(root)
    refused(root, ["import", "alder", str(checkpoint)], *words)
    assert tree(root) == before


def test_an_import_needs_an_existing_tenant_and_the_workspaces_lock(root, tmp_path, refused, call):
    from components.stages.workspace import Workspace

    checkpoint = str(write_checkpoint(tmp_path / "theirs"))
    refused(root, ["import", "birch", checkpoint], "'birch'", "data import")
    refused(root, ["import", "../x", checkpoint], "tenant")
    with Workspace(root).lock():
        refused(root, ["import", "alder", checkpoint], "another run (process")
    assert call(root, "import", "alder", checkpoint, "--format", "onnx").exit_code == 2
    assert call(root, "import", "alder").exit_code == 2


def test_an_export_of_a_missing_prefix_is_refused(root, tmp_path, refused, call):
    out = tmp_path / "out"
    refused(root, ["export", "alder", "--out", str(out)], "none in", "out/train/alder")
    refused(root, ["export", "alder", "--out", str(out), "--version", "3"], "version 3 of alder", "versions: none")
    refused(root, ["export", "unknown", "--out", str(out)], "none in")
    refused(root, ["export", "A/b", "--out", str(out)], "tenant")
    assert call(root, "export", "alder", "--out", str(out), "--version", "3", "--trained").exit_code == 2
    assert call(root, "export", "alder").exit_code == 2
    assert not out.exists()


def test_an_export_never_overwrites_a_file(root, tmp_path, refused, call):
    from components.stages.commands.peft_exchange import import_peft
    from components.stages.workspace import Workspace

    checkpoint = write_checkpoint(tmp_path / "theirs")
    import_peft(Workspace(root), "alder", checkpoint)
    content = (checkpoint / TENSORS).read_bytes()
    fix = "name another folder with --out"
    refused(root, ["export", "alder", "--trained", "--out", str(checkpoint)], fix, TENSORS)
    refused(root, ["export", "alder", "--trained", "--out", str(root / "base")], fix, "config.json")
    refused(root, ["export", "alder", "--trained", "--out", str(root / "params.yaml")], fix, "a file at")
    assert (checkpoint / TENSORS).read_bytes() == content
    (root / "out/train/alder/prefix.safetensors").write_bytes(b"cut")
    refused(root, ["export", "alder", "--trained", "--out", str(tmp_path / "out")], "sha256")
    assert not (tmp_path / "out").exists()
