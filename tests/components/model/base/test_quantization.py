"""Bases that are quantised while they are loaded, folders that are quantised already, and those that are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from quantized_bases import CPU_QUANTIZERS, load, save_full
from safetensors.torch import load_file, save_file

from components.errors import BaseModelError
from components.model.base.digests import compute_model_digest
from components.model.base.load import describe_base
from components.model.base.output_head import has_plain_head
from components.model.base.quantization import check_quantized
from components.model.decoding.run_kinds import can_share_cache
from components.model.packing import is_packable

IDS = torch.arange(2, 22).view(2, 10)


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_full(tmp_path_factory.mktemp("full"))


@pytest.fixture
def save_quantized(full_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that saves the model as a quantiser makes it, in a folder that says so itself."""

    def save(quantize: Any) -> Path:
        base = load(full_folder, quantize)
        base.model.save_pretrained(tmp_path)
        base.tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return save


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("quantize", CPU_QUANTIZERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_is_quantised_while_it_is_loaded(full_folder: Path, quantize: Any, dtype: str) -> None:
    full, base = load(full_folder, dtype=dtype), load(full_folder, quantize, dtype=dtype)
    assert base.digest != full.digest == base.files_digest == full.files_digest
    assert (base.parameter_count, base.shape, base.quantization) == (full.parameter_count, full.shape, quantize)
    assert describe_base(base)["dtype"] == dtype
    logits, exact = (one.model(input_ids=IDS).logits.float() for one in (base, full))
    assert 0 < (logits - exact).std() < 0.5 * exact.std()
    assert is_packable(base.model)
    assert can_share_cache(base)
    assert has_plain_head(base.model)
    assert load(full_folder, quantize, dtype=dtype).digest == base.digest


def test_each_quantiser_makes_another_base(full_folder: Path) -> None:
    assert len({load(full_folder, quantize).digest for quantize in (None, *CPU_QUANTIZERS)}) == 1 + len(CPU_QUANTIZERS)


@pytest.mark.parametrize("quantize", CPU_QUANTIZERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_that_is_quantised_already_is_loaded_as_it_is(
    save_quantized: Callable[..., Path], full_folder: Path, quantize: Any, dtype: str
) -> None:
    folder, before = save_quantized(quantize), load(full_folder, quantize)
    base = load(folder, dtype=dtype)
    assert base.digest == base.files_digest == compute_model_digest(folder)
    assert base.quantization == quantize.partition("-")[0]
    assert base.parameter_count == before.parameter_count
    assert {describe_base(base)["dtype"], str(base.model(input_ids=IDS).logits.dtype)} == {dtype, f"torch.{dtype}"}
    logits, exact = (one.model(input_ids=IDS).logits.float() for one in (base, before))
    tolerance = 1e-5 if dtype == "float32" else 0.05
    assert (logits - exact).std() <= tolerance * exact.std()
    with pytest.raises(BaseModelError, match="quantised once"):
        load(folder, quantize)


def test_layers_that_a_package_leaves_as_they_are_are_refused(tmp_path: Path) -> None:
    folder = save_full(tmp_path, "gpt2")
    with pytest.raises(BaseModelError, match="quantised weights; got none of GPT2LMHeadModel"):
        load(folder, "torchao-int8")
    assert load(folder, "bitsandbytes-int8").quantization == "bitsandbytes-int8"


def test_a_folder_that_is_computed_in_16_bits_after_all_is_refused() -> None:
    with pytest.raises(BaseModelError, match=r"computes in 16 bits on this device \(fp8\)"):
        check_quantized(torch.nn.Linear(2, 2), "fp8", "folder")


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "fbgemm_fp8", "compressed-tensors"])
def test_methods_without_kernels_for_a_cpu_are_refused_by_name(tmp_path: Path, method: str) -> None:
    folder = save_full(tmp_path)
    change_config(folder, lambda config: config.update(quantization_config={"quant_method": method, "bits": 4}))
    with pytest.raises(BaseModelError, match=rf"runs on a CPU \(bitsandbytes or torchao\); got {method}"):
        load(folder)


def test_a_quantiser_without_kernels_for_a_cpu_is_refused_by_name(full_folder: Path) -> None:
    with pytest.raises(
        BaseModelError, match=r"runs on a CPU \(bitsandbytes-int8 or bitsandbytes-nf4 or torchao-int8\); got"
    ):
        load(full_folder, "torchao-int4")


@pytest.mark.parametrize("settings", [{"quant_method": "mystery"}, {"bits": 4}])
def test_an_unknown_method_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = save_full(tmp_path)
    change_config(folder, lambda config: config.update(quantization_config=settings))
    with pytest.raises(BaseModelError, match="a quant_method of bitsandbytes, torchao, gptq"):
        load(folder)


def test_a_package_that_is_not_installed_is_named_with_its_extra(
    full_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.model.base.quantization.find_spec", lambda _: None)
    with pytest.raises(BaseModelError, match=r"the package torchao, for torchao-int8.*prefixfleet\[quantized\]"):
        load(full_folder, "torchao-int8")


def test_quantised_files_whose_config_does_not_say_so_are_refused(save_quantized: Callable[..., Path]) -> None:
    folder = save_quantized("bitsandbytes-int8")
    change_config(folder, lambda config: config.pop("quantization_config"))
    with pytest.raises(BaseModelError, match=r"unknown \d+ keys: .*SCB"):
        load(folder)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if not name.endswith(("SCB", "weight_format"))}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseModelError, match=r"I8 in .*with the quantization_config of its method"):
        load(folder)


@pytest.mark.parametrize("lost", ["SCB", "weight.absmax"])
def test_quantised_files_without_scales_are_refused(save_quantized: Callable[..., Path], lost: str) -> None:
    folder = save_quantized("bitsandbytes-int8" if lost == "SCB" else "bitsandbytes-nf4")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if not name.endswith(f"layers.1.self_attn.q_proj.{lost}")}
    assert len(kept) == len(tensors) - 1
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseModelError, match="quantised ones without their scales"):
        load(folder)


def test_scales_that_are_not_finite_are_refused(save_quantized: Callable[..., Path]) -> None:
    folder = save_quantized("torchao-int8")
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name in tensors if "layers.1.mlp.up_proj" in name and name.endswith("scale"))
    tensors[name][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata)
    with pytest.raises(BaseModelError, match=r"NaN or infinity in 1 key: model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)
