"""Products of a frozen model's linear layers on a CPU, with weights that are packed once.

torch packs a layer's weight anew in every product: for a few rows this takes as long as the product itself. oneDNN also
takes a weight that is packed already. The packed copy is as large as the weight, so it is made only where much memory
is free. It is used in inference mode alone, as its operators have no gradient, and only while a layer has its own
weight. Knows modules; does not know models.
"""

import platform
from typing import Any

import torch
from torch import Tensor, nn

from components.model.base.free_memory import read_free_bytes
from components.model.base.out_of_memory import is_out_of_memory

_FREE_SHARE = 4
"""Weights are packed if this many times their bytes are free."""
_LEAST_ROWS = {torch.float32: 2, torch.bfloat16: 1}
"""With fewer rows torch's own product is faster."""
_PACKED_ROWS = 32
"""The number of rows for which oneDNN chooses how a weight is packed; other numbers are computed too."""


def pack_products(model: nn.Module) -> int:
    """Let the linear layers of a frozen model pack their weights when they first need it; return the bytes of these.

    Returns 0, and changes nothing, if the layers are not on a CPU that has these operators, or memory is short.
    """
    layers: list[Any] = [module for module in model.modules() if _can_be_packed(module)]
    size: int = sum(layer.weight.nbytes for layer in layers)
    if size * _FREE_SHARE > read_free_bytes(torch.device("cpu")):
        return 0
    for layer in layers:
        layer.forward = _PackedProduct(layer)
    return size


def count_packed_bytes(model: nn.Module) -> int:
    """Return the bytes of the weights that `pack_products` lets pack, whether they are packed yet or not."""
    modules: list[Any] = list(model.modules())
    return sum(one.weight.nbytes for one in modules if isinstance(vars(one).get("forward"), _PackedProduct))


def _can_be_packed(module: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    if type(module) not in (nn.Linear, Conv1D) or type(module.weight) is not nn.Parameter:
        return False
    weight, is_hooked = module.weight, hasattr(module, "_hf_hook")
    return weight.device.type == "cpu" and not is_hooked and not weight.is_inference() and _is_supported(weight.dtype)


def _is_supported(dtype: torch.dtype) -> bool:
    has_operators: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not has_operators or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _PackedProduct:
    """The forward of one `nn.Linear`, or of one `Conv1D` of transformers, whose weight is [inputs, outputs]."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._source: Tensor | None = layer.weight
        """The weight that may be packed; None: none, as in a copy of a model, whose weights may be changed."""
        self._version = layer.weight._version
        self._packed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        packed = self._pack() if self._fits(x) and torch.is_inference_mode_enabled() else None
        if packed is None:
            plain: Tensor = type(self._layer).forward(self._layer, x)
            return plain
        output: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, self._layer.bias, "none", [], "")
        return output

    def __getstate__(self) -> dict[str, Any]:
        return {"_layer": self._layer, "_source": None, "_version": 0, "_packed": None}

    def _fits(self, x: Tensor) -> bool:
        least = _LEAST_ROWS.get(x.dtype)
        if least is None or x.numel() < least * x.shape[-1]:
            return False
        weight: Tensor = self._layer.weight
        return weight is self._source and weight._version == self._version and x.dtype == weight.dtype

    def _pack(self) -> Tensor | None:
        if self._packed is None and self._source is not None:
            weight = self._source.detach()
            try:
                outputs_first = weight if isinstance(self._layer, nn.Linear) else weight.t().contiguous()
                self._packed = torch.ops.mkldnn._reorder_linear_weight(outputs_first, _PACKED_ROWS)
            except RuntimeError as problem:
                if not is_out_of_memory(problem):
                    raise
                self._source = None
        return self._packed
