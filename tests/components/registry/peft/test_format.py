"""Export to PEFT and import from it: PEFT and this project compute the same logits and texts from the same values."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config

from components.errors import ArtifactError
from components.model.prefix.attach import attach_prefixes, compute_positions
from components.model.prefix.prefix import Prefix
from components.registry.peft.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from components.registry.peft.format import read_peft, write_peft

LENGTH, LAYERS, HIDDEN = 5, 3, 9
SIZES = {"gpt2": (4, 8), "llama": (2, 8), "qwen3": (2, 12)}
"""Key/value heads and head size: one per query head, grouped queries, and a size other than hidden / heads."""


def tiny_model(kind: str) -> Any:
    common: dict[str, Any] = {"vocab_size": 67, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    common |= {"initializer_range": 0.2}
    grouped = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    grouped |= {"num_hidden_layers": LAYERS, "max_position_embeddings": 64}
    torch.manual_seed(0)
    match kind:
        case "gpt2":
            config = GPT2Config(n_embd=32, n_head=4, n_layer=LAYERS, n_positions=64, **common)
        case "llama":
            config = LlamaConfig(**grouped, **common)
        case "qwen3":
            config = Qwen3Config(head_dim=12, **grouped, **common)
    return AutoModelForCausalLM.from_config(config).eval()


def random_prefix(kind: str, length: int = LENGTH, seed: int = 5, **sites: int) -> Prefix:
    generator = torch.Generator().manual_seed(seed)
    heads, head_dim = SIZES[kind]
    return Prefix(
        {
            f"{site}.{layer}.{part}": torch.randn(heads, length, head_dim, generator=generator)
            for site, layers in (sites or {"decoder.self": LAYERS}).items()
            for layer in range(layers)
            for part in ("key", "value")
        }
    )


def make_peft_model(kind: str, *, projection: bool = False) -> Any:
    """Return a PeftModel whose prompt encoder has random weights, large enough to change every logit."""
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=LENGTH,
        prefix_projection=projection,
        encoder_hidden_size=HIDDEN if projection else None,
    )
    model = peft.get_peft_model(tiny_model(kind), config).eval()
    torch.manual_seed(1)
    for weight in model.prompt_encoder.parameters():
        torch.nn.init.normal_(weight)
    return model


@torch.no_grad()
def assert_same_text(peft_model: Any, model: Any, prefix: Prefix) -> None:
    """Assert logits within 1e-5 except at padding, and equal tokens from greedy and beam search."""
    ids = torch.randint(2, 67, (3, 9), generator=torch.Generator().manual_seed(8))
    mask = torch.ones_like(ids)
    mask[1, 4:], mask[2, 7:] = 0, 0
    expected = peft_model(input_ids=ids, attention_mask=mask).logits
    with attach_prefixes(model, [prefix] * 3):
        ours = model(input_ids=ids, attention_mask=mask).logits
    alone, real = model(input_ids=ids, attention_mask=mask).logits, mask.bool()
    torch.testing.assert_close(ours[real], expected[real], rtol=0.0, atol=1e-5)
    assert (ours[real] - alone[real]).abs().max() > 0.1
    whole = torch.ones_like(ids)
    for beams in (1, 4):
        options = {"max_new_tokens": 12, "num_beams": beams, "do_sample": False, "pad_token_id": 1}
        their_ids = peft_model.generate(input_ids=ids, attention_mask=whole, **options)
        with attach_prefixes(model, [prefix] * 3):
            positions = compute_positions(whole, [prefix.length] * 3)
            our_ids = model.generate(input_ids=ids, attention_mask=whole, position_ids=positions, **options)
        assert our_ids.tolist() == their_ids.tolist()
        assert our_ids.tolist() != model.generate(input_ids=ids, attention_mask=whole, **options).tolist()


@pytest.mark.parametrize("kind", SIZES)
def test_peft_loads_an_export_and_generates_the_same(kind: str, tmp_path: Path) -> None:
    prefix = random_prefix(kind)
    write_peft(tmp_path / "out", prefix, base_name="some/base", revision="main", facts={"tenant": "acme"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    loaded = peft.PeftModel.from_pretrained(tiny_model(kind), str(tmp_path / "out")).eval()
    config = loaded.peft_config["default"]
    heads, head_dim = SIZES[kind]
    assert (config.num_attention_heads, config.token_dim) == (heads, heads * head_dim)
    assert (config.base_model_name_or_path, config.revision, config.inference_mode) == ("some/base", "main", True)
    assert_same_text(loaded, tiny_model(kind), prefix)
    back = read_peft(tmp_path / "out")
    assert (back.base_name, back.facts) == ("some/base", {"tenant": "acme"})
    assert all(torch.equal(back.prefix.tensors[name], tensor) for name, tensor in prefix.tensors.items())


@pytest.mark.parametrize("projection", [False, True], ids=["values", "mlp"])
@pytest.mark.parametrize("kind", SIZES)
def test_an_import_from_peft_generates_the_same(kind: str, projection: bool, tmp_path: Path) -> None:
    model = make_peft_model(kind, projection=projection)
    model.save_pretrained(tmp_path)
    assert list(load_file(tmp_path / WEIGHTS_FILE)) == ["prompt_embeddings"]
    imported = read_peft(tmp_path)
    assert (imported.prefix.length, imported.base_name, imported.facts) == (LENGTH, "", {})
    assert_same_text(model, tiny_model(kind), imported.prefix)


@pytest.mark.parametrize("projection", [False, True], ids=["values", "mlp"])
@pytest.mark.parametrize("name", ["prompt_encoder.default.", "module.prompt_encoder.acme.", "prompt_encoder."])
def test_the_mlp_of_a_state_dict_is_computed(projection: bool, name: str, tmp_path: Path) -> None:
    model = make_peft_model("llama", projection=projection)
    model.save_pretrained(tmp_path)
    state = {f"{name}{key}": value for key, value in model.prompt_encoder["default"].state_dict().items()}
    assert len(state) == (5 if projection else 1)
    save_file(state, tmp_path / WEIGHTS_FILE)
    assert_same_text(model, tiny_model("llama"), read_peft(tmp_path).prefix)


def test_importing_and_exporting_keeps_every_bit(tmp_path: Path) -> None:
    make_peft_model("llama", projection=True).save_pretrained(tmp_path / "theirs")
    write_peft(tmp_path / "ours", read_peft(tmp_path / "theirs").prefix, base_name="", facts={})
    before, after = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("theirs", "ours"))
    assert torch.equal(before["prompt_embeddings"], after["prompt_embeddings"])


def test_half_precision_is_read_exactly(tmp_path: Path) -> None:
    write_peft(tmp_path, random_prefix("gpt2").to(torch.bfloat16), base_name="", facts={})
    assert load_file(tmp_path / WEIGHTS_FILE)["prompt_embeddings"].dtype == torch.bfloat16
    for name, tensor in read_peft(tmp_path).prefix.tensors.items():
        assert torch.equal(tensor, random_prefix("gpt2").tensors[name].bfloat16().float())


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ({"encoder.self": 2, "decoder.self": 2, "decoder.cross": 2}, "values at decoder.cross, encoder.self"),
        ({"decoder.infix": 2}, "values at decoder.infix"),
    ],
)
def test_a_prefix_that_peft_cannot_represent_is_refused(sites: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=message):
        write_peft(tmp_path / "out", random_prefix("gpt2", **sites), base_name="", facts={})
    assert not (tmp_path / "out").exists()


def test_a_prefix_without_slots_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="length 0"):
        write_peft(tmp_path / "out", random_prefix("gpt2", length=0), base_name="", facts={})


def test_an_export_replaces_only_an_earlier_export(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_peft(tmp_path / "ours", random_prefix("gpt2", seed=seed), base_name="", facts={})
    exported = read_peft(tmp_path / "ours").prefix
    assert all(
        torch.equal(exported.tensors[name], value) for name, value in random_prefix("gpt2", seed=2).tensors.items()
    )
    make_peft_model("gpt2").save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "README.md").unlink()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("theirs", "notes", "file"):
        with pytest.raises(ArtifactError, match="name another folder with --out"):
            write_peft(tmp_path / name, random_prefix("gpt2"), base_name="", facts={})
