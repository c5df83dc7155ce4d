"""Missing, broken and foreign checkpoints: `read_peft` refuses each with the name of the problem."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config

from components.errors import ArtifactError
from components.registry.peft.checkpoint import CONFIG_FILE, PICKLE_FILE, WEIGHTS_FILE
from components.registry.peft.format import read_peft

LENGTH, HIDDEN = 5, 9


def save_real(folder: Path, config: Any) -> None:
    """Save an untrained adapter on a GPT-2 of 3 layers with 4 heads of size 8, as PEFT does."""
    sizes = {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64, "vocab_size": 67}
    model = AutoModelForCausalLM.from_config(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes))
    peft.get_peft_model(model, config).save_pretrained(folder)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peft")
    save_real(folder, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH))
    return folder


@pytest.fixture
def copy_with(real: Path) -> Callable[..., Path]:
    """Return a function that copies PEFT's checkpoint into a folder with these fields changed in its config."""

    def copy(folder: Path, **fields: Any) -> Path:
        shutil.copytree(real, folder, dirs_exist_ok=True)
        config = json.loads((folder / CONFIG_FILE).read_text()) | fields
        kept = {key: value for key, value in config.items() if value != "absent"}
        (folder / CONFIG_FILE).write_text(json.dumps(kept))
        return folder

    return copy


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "LORA"}, "got one of LORA"),
        ({"peft_type": "PROMPT_TUNING"}, "got one of PROMPT_TUNING"),
        ({"peft_type": "absent"}, "got one of None"),
        ({"task_type": "SEQ_2_SEQ_LM", "num_transformer_submodules": 2}, "task SEQ_2_SEQ_LM on 2 submodules"),
        ({"task_type": "SEQ_CLS"}, "task SEQ_CLS"),
        ({"modules_to_save": ["lm_head"]}, "lm_head trained too"),
        ({"num_layers": "absent"}, "no num_layers"),
        ({"num_layers": None}, "num_layers = None"),
        ({"num_virtual_tokens": -1}, "num_virtual_tokens = -1"),
        ({"num_virtual_tokens": "5"}, "num_virtual_tokens = 5"),
        ({"num_virtual_tokens": 6}, r"wanted prompt_embeddings \[6, 192\].*got \[5, 192\]"),
        ({"num_layers": 4}, r"4 layers of 4 heads.*got \[5, 192\]"),
        ({"num_attention_heads": 5}, "5 heads and token_dim 32"),
        ({"token_dim": 16}, r"got \[5, 192\]"),
    ],
)
def test_a_config_of_another_method_task_or_shape_is_refused(
    copy_with: Any, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_peft(copy_with(tmp_path, **fields))


def test_real_checkpoints_of_other_methods_are_refused_by_name(tmp_path: Path) -> None:
    for config in (
        peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ):
        folder = tmp_path / config.peft_type.value
        save_real(folder, config)
        with pytest.raises(ArtifactError, match=f"one of {config.peft_type.value} in"):
            read_peft(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "adapter_config.json in JSON"),
        ("[]", "a list"),
        ("{", "adapter_config.json in JSON"),
        ("[" * 100_000, "adapter_config.json in JSON"),
        ('{"peft_type":' * 950 + "1" + "}" * 950, "adapter_config.json in JSON.*nested"),
        ('{"num_layers": ' + "9" * 5000 + "}", "adapter_config.json in JSON"),
        ("\udcff", "adapter_config.json in JSON"),
        (" " * ((1 << 20) + 1), "1048577 bytes"),
    ],
)
def test_a_broken_config_is_refused(copy_with: Any, text: str, message: str, tmp_path: Path) -> None:
    copy_with(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(text, errors="surrogateescape")
    with pytest.raises(ArtifactError, match=message):
        read_peft(tmp_path)


def test_the_error_names_the_missing_part(copy_with: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no folder"):
        read_peft(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=f"no {CONFIG_FILE}"):
        read_peft(tmp_path)
    copy_with(tmp_path / "default")
    with pytest.raises(ArtifactError, match=f"name the adapter's own folder: {tmp_path / 'default'}"):
        read_peft(tmp_path)
    (tmp_path / "default" / WEIGHTS_FILE).unlink()
    with pytest.raises(ArtifactError, match=f"tensors in {WEIGHTS_FILE}; got none"):
        read_peft(tmp_path / "default")


def test_tensors_of_gigabytes_are_not_read(copy_with: Any, tmp_path: Path) -> None:
    copy_with(tmp_path)
    with (tmp_path / WEIGHTS_FILE).open("r+b") as stream:
        stream.truncate(20 * 2**30)
    with pytest.raises(ArtifactError, match=rf"{WEIGHTS_FILE}: {20 * 2**30} bytes, more than"):
        read_peft(tmp_path)


@pytest.mark.parametrize("facts", ['{"a":' * 950 + "1" + "}" * 950, "[" * 10**5, "9" * 5000, "[]"])
def test_facts_that_cannot_be_read_are_none(copy_with: Any, tmp_path: Path, facts: str) -> None:
    copy_with(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    save_file(tensors, tmp_path / WEIGHTS_FILE, {"prefixfleet": facts})
    assert read_peft(tmp_path).facts == {}


def test_an_mlp_that_overflows_is_refused(tmp_path: Path) -> None:
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=LENGTH, prefix_projection=True, encoder_hidden_size=HIDDEN
    )
    save_real(tmp_path, config)
    sizes = {"0.weight": (HIDDEN, 32), "0.bias": (HIDDEN,), "2.weight": (192, HIDDEN), "2.bias": (192,)}
    tensors = {f"prompt_encoder.transform.{name}": torch.full(size, 3e38) for name, size in sizes.items()}
    tensors["prompt_encoder.embedding.weight"] = torch.ones(LENGTH, 32)
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ArtifactError, match="an MLP that overflows"):
        read_peft(tmp_path)


class Bomb:
    """Unpickling it raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def test_a_pickle_is_never_opened(copy_with: Any, tmp_path: Path) -> None:
    copy_with(tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    (tmp_path / PICKLE_FILE).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ArtifactError, match=r"a pickle.*safe_serialization=True"):
        read_peft(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_truncated_tensors_are_refused(copy_with: Any, keep: int, tmp_path: Path) -> None:
    path = copy_with(tmp_path) / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="a valid safetensors file"):
        read_peft(tmp_path)


def embedding(width: int = 192) -> dict[str, torch.Tensor]:
    return {"prompt_encoder.default.embedding.weight": torch.ones(LENGTH, width)}


def mlp(inner: int = 32) -> dict[str, torch.Tensor]:
    shapes = {"0.weight": (HIDDEN, inner), "0.bias": (HIDDEN,), "2.weight": (192, HIDDEN), "2.bias": (192,)}
    return {f"prompt_encoder.default.transform.{name}": torch.ones(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"prompt_embeddings": torch.full((LENGTH, 192), torch.nan)}, "finite floating-point"),
        ({"prompt_embeddings": torch.full((LENGTH, 192), -torch.inf)}, "finite floating-point"),
        ({"prompt_embeddings": torch.ones(LENGTH, 192, dtype=torch.int64)}, "torch.int64"),
        ({"prompt_embeddings": torch.ones(LENGTH * 192)}, r"got \[960\]"),
        ({"prompt_embeddings": torch.ones(0, 192)}, r"got \[0, 192\]"),
        ({}, "0 adapters"),
        ({"lora_A.weight": torch.ones(2)}, "lora_A.weight"),
        ({"prompt_embeddings": torch.ones(LENGTH, 192), "wte.weight": torch.ones(2)}, "wte.weight|prompt_embeddings"),
        (embedding() | {"prompt_encoder.b.embedding.weight": torch.ones(LENGTH, 192)}, "2 adapters"),
        (embedding() | {"x.prompt_encoder.default.embedding.weight": torch.ones(LENGTH, 192)}, "one prompt_encoder"),
        (embedding() | {"base_model.wte.weight": torch.ones(2)}, "base_model.wte.weight and others"),
        (mlp(), "no embedding.weight"),
        (embedding(32) | dict(list(mlp().items())[:3]), "no transform.2.bias"),
        (embedding(32) | mlp(31), "an MLP with matching shapes"),
    ],
)
def test_other_tensors_are_refused(
    copy_with: Any, tensors: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    copy_with(tmp_path)
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ArtifactError, match=message):
        read_peft(tmp_path)
