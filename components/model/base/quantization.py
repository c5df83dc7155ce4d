"""Quantised bases: folders whose config.json describes it, and full folders that are quantised while they are loaded.

Knows the packages that the methods need and the devices they run on; does not know how a package computes. Which layers
are quantised is decided by transformers: all linear layers of the blocks, but neither embeddings nor the output layer.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from components.config import BaseConfig
from components.config.quantizers import QUANTIZERS
from components.errors import BaseModelError
from components.model.base.text_config import find_text_configs

_EXTRA = "pip install 'prefixfleet[quantized]'"
_PLAIN_TYPES = (Tensor, nn.Parameter)
_MIN_WEIGHT_BYTES = 2


@dataclass(frozen=True, slots=True)
class _Method:
    """What a method of transformers' `quantization_config` needs."""

    packages: tuple[str, ...]
    """Modules that are imported."""
    fix: str
    """How to install them."""
    runs_on_cpu: bool = False


_METHODS = {
    "bitsandbytes": _Method(("bitsandbytes",), _EXTRA, runs_on_cpu=True),
    "torchao": _Method(("torchao",), _EXTRA, runs_on_cpu=True),
    "gptq": _Method(("gptqmodel", "optimum"), "pip install gptqmodel optimum"),
    "awq": _Method(("gptqmodel",), "pip install gptqmodel"),
    "fp8": _Method((), ""),
    "fbgemm_fp8": _Method(("fbgemm_gpu",), "pip install fbgemm-gpu-genai"),
    "compressed-tensors": _Method(("compressed_tensors",), "pip install compressed-tensors"),
}
_METHODS_BY_QUANTIZER = {
    "bitsandbytes-int8": _METHODS["bitsandbytes"],
    "bitsandbytes-nf4": _METHODS["bitsandbytes"],
    "torchao-int8": _METHODS["torchao"],
    "torchao-int4": _Method(("torchao", "mslk"), f"{_EXTRA} mslk"),
}


def find_quantization(config: BaseConfig, model_config: Any, device: torch.device | str) -> str:
    """Return the name of the quantisation that a base will have on `device`; "": none.

    Raises:
        BaseModelError: the folder is quantised already and `base.quantize` is set; the method is unknown, its package
            is not installed, or it has no kernels for the device.
    """
    own = _read_folder_method(model_config, config.path)
    if own and config.quantize:
        got = f"base.quantize: {config.quantize}, and {config.path}, which is quantised already ({own})"
        raise BaseModelError("a base that is quantised once", got, "remove base.quantize")
    name = config.quantize or own
    if name:
        method = _METHODS_BY_QUANTIZER[config.quantize] if config.quantize else _METHODS[own]
        _check_method(method, name, torch.device(device).type)
    return name


def make_quantization_options(config: BaseConfig, dtype: torch.dtype) -> dict[str, Any]:
    """Return the options of `from_pretrained` that quantise a full folder as `base.quantize` says; {} without it."""
    if config.quantize is None:
        return {}
    from transformers import BitsAndBytesConfig, TorchAoConfig

    settings = dict(QUANTIZERS[config.quantize])
    if config.quantize.startswith("bitsandbytes"):
        return {"quantization_config": BitsAndBytesConfig(**settings, bnb_4bit_compute_dtype=dtype)}
    from torchao import quantization

    make = getattr(quantization, settings.pop("kind"))
    return {"quantization_config": TorchAoConfig(make(**settings))}


def is_quantized(model: Any) -> bool:
    """Whether layers of a model compute with quantised weights."""
    return bool(getattr(model, "is_quantized", False))


def prepare_quantized(model: Any, dtype: torch.dtype) -> None:
    """Cast the layers of a quantised model that are not quantised to `dtype`, and keep the others as they are.

    transformers leaves those layers of a folder that bitsandbytes quantised in the type of the files. On a CPU with
    16-bit products, bitsandbytes would round the scales to bfloat16 in the first forward: a base other than the one
    that was loaded, and an error for layers narrower than a block. Warnings of every forward are silenced.
    """
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    before = model.dtype
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        for parameter in module.parameters(recurse=False):
            if before != dtype and parameter.dtype == before and all(map(is_full_tensor, own)):
                parameter.data = parameter.data.to(dtype)


def check_quantized(model: Any, quantization: str, path: str) -> None:
    """Check that a base that should be quantised has quantised weights.

    Raises:
        BaseModelError: it has none, because its layers are of a kind that the package leaves as they are, or because
            transformers computes a folder of this method in 16 bits on this device.
    """
    if all(map(is_full_tensor, model.state_dict().values())):
        if quantization in _METHODS:
            got = f"{path}, which transformers computes in 16 bits on this device ({quantization})"
            raise BaseModelError("quantised weights", got, "use a GPU that has kernels for it, or the full model")
        got = f"none of {type(model).__name__} in {path}: {quantization} knows no layer of its kinds"
        raise BaseModelError("quantised weights", got, "set base.quantize to bitsandbytes-int8, or to null")


def is_full_tensor(tensor: Tensor) -> bool:
    """Whether a weight is stored as it is computed with: floating-point, 16 bits or more, in torch's own class."""
    is_wide = tensor.is_floating_point() and tensor.element_size() >= _MIN_WEIGHT_BYTES
    return is_wide and type(tensor) in _PLAIN_TYPES


def list_stored_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the tensors that hold the values of one: of a quantised class several (values, scales).

    Of a tensor that is divided among processes, this process's part.
    """
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        if isinstance(part := getattr(tensor, name), Tensor):
            yield from list_stored_tensors(part)


def count_parameters(model: Any) -> int:
    """Return the number of parameters that a model of this config has when it is not quantised."""
    if not is_quantized(model):
        return sum(parameter.numel() for parameter in model.parameters())
    with torch.device("meta"):
        full = type(model)(model.config)
    return sum(parameter.numel() for parameter in full.parameters())


def _read_folder_method(model_config: Any, path: str) -> str:
    settings = next(
        (own for one in (model_config, *find_text_configs(model_config)) if (own := _get_settings(one))), {}
    )
    if not settings:
        return ""
    is_bitsandbytes = settings.get("load_in_8bit") or settings.get("load_in_4bit")
    method = "bitsandbytes" if is_bitsandbytes else settings.get("quant_method")
    if method not in _METHODS:
        wanted = f"a quantization_config in config.json with a quant_method of {', '.join(_METHODS)}"
        raise BaseModelError(wanted, f"{path}: {method!r}", "use a base of one of these, or the full model")
    return str(method)


def _get_settings(config: Any) -> Mapping[str, Any]:
    settings = getattr(config, "quantization_config", None) or {}
    return settings if isinstance(settings, Mapping) else settings.to_dict()


def _check_method(method: _Method, name: str, device_type: str) -> None:
    if device_type == "cpu" and not method.runs_on_cpu:
        is_chosen = name in _METHODS_BY_QUANTIZER
        methods = _METHODS_BY_QUANTIZER if is_chosen else _METHODS
        able = " or ".join(key for key, one in methods.items() if one.runs_on_cpu)
        fix = "use a GPU, or one of these" if is_chosen else "use a GPU, or the full model with base.quantize"
        raise BaseModelError(f"a quantisation that runs on a CPU ({able})", name, fix)
    missing = [package for package in method.packages if find_spec(package) is None]
    if missing:
        raise BaseModelError(f"the package {missing[0]}, for {name}", "it is not installed", method.fix)
