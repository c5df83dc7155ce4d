"""Bases whose weights are not exactly those of config.json, or not finite, are refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import Base, load_base

Save = Callable[[Any], Path]
PAIRS = ("bart", "t5", "mbart", "marian", "pegasus", "mt5")


def load(folder: Path, dtype: Any = "float32") -> Base:
    return load_base(BaseConfig(path=str(folder), dtype=dtype), device="cpu")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file, {"format": "pt"})


def set_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("start", ["_orig_mod.", "module.", "base_model.model.", "encoder."])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart"])
def test_renamed_keys_are_refused(kind: str, start: str, build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model(kind))
    rewrite(folder, lambda tensors: {start + name: tensor for name, tensor in tensors.items()})
    with pytest.raises(BaseModelError, match=r"missing \d+ keys: .* and \d+ more; unknown \d+ keys: .*save_pretrained"):
        load(folder)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5"])
def test_a_missing_layer_is_refused(kind: str, build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model(kind))
    rewrite(folder, lambda tensors: {name: one for name, one in tensors.items() if ".1." not in name})
    with pytest.raises(BaseModelError, match=r"missing \d+ keys: .*\.1\."):
        load(folder)


@pytest.mark.parametrize(("layers", "message"), [(1, "unknown 9 keys"), (3, "missing 9 keys")])
def test_a_config_of_other_layers_than_the_file_is_refused(
    layers: int, message: str, build_model: Callable[..., Any], save: Save
) -> None:
    folder = save(build_model("llama"))
    set_config(folder, num_hidden_layers=layers)
    with pytest.raises(BaseModelError, match=message):
        load(folder)


def test_other_shapes_are_refused_with_both_shapes(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("llama"))
    set_config(folder, intermediate_size=40)
    with pytest.raises(BaseModelError, match=r"of other shape 6 keys: .*\[32, 48\] \(config\.json: \[32, 40\]\)"):
        load(folder)


def test_an_untied_head_that_is_missing_is_refused(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("llama"))
    rewrite(folder, lambda tensors: {name: one for name, one in tensors.items() if name != "lm_head.weight"})
    with pytest.raises(BaseModelError, match=r"missing 1 key: lm_head\.weight"):
        load(folder)


def test_a_head_of_another_task_is_refused(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("gpt2"))
    rewrite(folder, lambda tensors: {**tensors, "score.weight": torch.zeros(2, 32)})
    with pytest.raises(BaseModelError, match=r"unknown 1 key: score\.weight"):
        load(folder)


def test_a_model_of_another_architecture_is_refused(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("llama"))
    other = load_file(folder / "model.safetensors")
    save(build_model("gpt2"))
    rewrite(folder, lambda _: other)
    with pytest.raises(BaseModelError, match="exactly the weights of GPT2LMHeadModel"):
        load(folder)


def test_a_shard_without_its_keys_is_refused(build_model: Callable[..., Any], save: Save) -> None:
    model = build_model("gpt2")
    folder = save(model)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shard = sorted(folder.glob("*.safetensors"))[1]
    kept = load_file(shard)
    lost = kept.popitem()[0]
    save_file(kept, shard, {"format": "pt"})
    with pytest.raises(BaseModelError, match=f"missing 1 key: {lost}"):
        load(folder)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "opt", "gpt_neox", *PAIRS])
def test_tied_weights_and_declared_keys_are_not_missing(kind: str, build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model(kind))
    assert load(folder).parameter_count > 0


def test_a_tied_head_in_the_file_and_buffers_of_old_releases_are_accepted(
    build_model: Callable[..., Any], save: Save
) -> None:
    folder = save(build_model("gpt2"))
    old = {
        "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4),
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    rewrite(folder, lambda tensors: {**tensors, **old, "lm_head.weight": tensors["transformer.wte.weight"].clone()})
    assert load(folder).parameter_count > 0


def test_a_model_saved_without_its_tied_head_is_accepted(build_model: Callable[..., Any], save: Save) -> None:
    model = build_model("gpt2")
    folder = save(model)
    rewrite(folder, lambda tensors: {name.removeprefix("transformer."): one for name, one in tensors.items()})
    ids = torch.arange(2, 12)[None]
    torch.testing.assert_close(load(folder).model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn])
@pytest.mark.parametrize("start", ["transformer.", ""])
def test_quantised_weights_without_their_scales_are_refused(
    dtype: torch.dtype, start: str, build_model: Callable[..., Any], save: Save
) -> None:
    folder = save(build_model("gpt2"))
    name = f"{start}h.0.mlp.c_fc.weight"

    def quantise(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        short = {start + key.removeprefix("transformer."): one for key, one in tensors.items()}
        return {**short, name: short[name].to(dtype)}

    rewrite(folder, quantise)
    with pytest.raises(BaseModelError, match=rf"weights in F64, F32, F16, BF16; got .* in 1 key: {name}"):
        load(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("saved", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(
    value: float, dtype: str, saved: torch.dtype, build_model: Callable[..., Any], save: Save
) -> None:
    folder = save(build_model("gpt2").to(saved))

    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors["transformer.h.1.ln_1.bias"][3] = value
        return tensors

    rewrite(folder, spoil)
    with pytest.raises(BaseModelError, match=r"NaN or infinity in 1 key: transformer\.h\.1\.ln_1\.bias"):
        load(folder, dtype)


def test_weights_whose_outputs_overflow_are_refused(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("gpt2"))
    rewrite(folder, lambda tensors: {name: 1e25 * one for name, one in tensors.items()})
    with pytest.raises(BaseModelError, match="finite outputs; got NaN or infinity in the logits of GPT2LMHeadModel"):
        load(folder)


def test_transformers_own_report_on_weights_is_not_printed(
    build_model: Callable[..., Any], save: Save, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save(build_model("gpt2"))
    rewrite(folder, lambda tensors: {**tensors, "more": torch.ones(2)})
    with pytest.raises(BaseModelError, match="unknown 1 key: more"):
        load(folder)
    assert "can be ignored" not in "".join(capfd.readouterr())


def test_weights_that_overflow_in_16_bits_are_refused_only_there(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("bart"))

    def enlarge(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors["final_logits_bias"][0, 3] = torch.finfo(torch.float32).max
        return tensors

    rewrite(folder, enlarge)
    assert load(folder).is_encoder_decoder
    with pytest.raises(BaseModelError, match=r"final_logits_bias, loaded as bfloat16.*base\.dtype"):
        load(folder, "bfloat16")
