"""Changed bases and damaged prefixes: each is refused by name, or restored if an intact copy or the data allow it."""

import shutil

import pytest


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def forget_copies(root):
    """Remove every copy of alder's champion beside MLflow's: the fetched one, and the training's."""
    shutil.rmtree(root / "var/champions", ignore_errors=True)
    shutil.rmtree(root / "out/train/alder")


def test_with_another_base_generate_is_refused_and_the_tenant_needs_training(call, refused, served):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config.from_pretrained(served / "base")).save_pretrained(served / "base")
    refused(
        served, ["generate", "alder", "text"], "the base that alder's prefix was trained on: digest", "set base.path"
    )
    assert "base changed" in call(served, "status").stdout
    refused(served, ["stage", "evaluate"], "1 failed (alder:", "base changed", "train it first")


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("model.safetensors", "weights as safetensors"),
        ("config.json", "JSON"),
        ("tokenizer.json", "JSON"),
        (None, "a base at"),
    ],
)
def test_a_damaged_base_is_named(refused, served, monkeypatch, file, wanted):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if file is None:
        shutil.rmtree(served / "base")
    else:
        content = (served / "base" / file).read_bytes()
        (served / "base" / file).write_bytes(content[: len(content) // 2])
    for arguments in (["stage", "base"], ["stage", "train"], ["generate", "alder", "text"]):
        refused(served, arguments, wanted, "base")


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "other tenant", "no manifest", "gone"])
def test_a_damaged_champion_in_the_store_is_refused(refused, served, registered, harm):
    folder = registered(served)
    tensors, manifest = folder / "prefix.safetensors", folder / "manifest.json"
    match harm:
        case "flip":
            flip(tensors)
        case "cut":
            tensors.write_bytes(tensors.read_bytes()[:100])
        case "empty":
            tensors.write_bytes(b"")
        case "other tenant":
            manifest.write_text(manifest.read_text().replace('"tenant": "alder"', '"tenant": "birch"'))
        case "no manifest":
            manifest.unlink()
        case "gone":
            shutil.rmtree(folder)
    forget_copies(served)
    refused(
        served,
        ["generate", "alder", "text"],
        "the prefix of alder, version 1",
        str(folder.parent),
        "prefixfleet rollback",
    )
    assert not list((served / "var").glob("champions/*/*"))


def test_a_damaged_local_copy_is_fetched_again(call, served):
    forget_copies(served)
    before = call(served, "generate", "alder", "thing: boat").stdout
    (copy,) = (served / "var/champions").glob("*/prefix.safetensors")
    good = copy.read_bytes()
    flip(copy)
    result = call(served, "generate", "alder", "thing: boat")
    assert (result.exit_code, result.stdout) == (0, before)
    assert copy.read_bytes() == good


def test_a_damaged_prefix_in_out_is_refused_and_trained_again(call, refused, served):
    path = served / "out/train/alder/prefix.safetensors"
    good = path.read_bytes()
    flip(path)
    refused(served, ["stage", "evaluate"], "1 failed (alder:", "its prefix is damaged", "train it first")
    assert call(served, "stage", "train").exit_code == 0
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    "file", ["out/evaluate/alder/report.json", "out/gate/alder/verdict.json", "out/base/base.json"]
)
def test_a_broken_result_is_computed_again(call, served, file):
    good = (served / file).read_text()
    (served / file).write_text("1")
    result = call(served, "status")
    assert result.exit_code in (0, 2), result.output
    for stage in ("base", "train", "evaluate", "gate"):
        assert call(served, "stage", stage).exit_code == 0
    assert (served / file).read_text() == good
