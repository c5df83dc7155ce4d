"""A quantised base is trained on only if gradients pass through its layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from quantized_bases import CPU_QUANTIZERS, load, save_full

from components.errors import BaseModelError
from components.model.base.gradient_check import check_gradients


@pytest.mark.parametrize(
    ("kind", "quantize"),
    [*(("llama", one) for one in CPU_QUANTIZERS), ("t5", "torchao-int8"), ("gpt2", "bitsandbytes-int8")],
)
def test_gradients_pass_through_the_kernels_that_a_cpu_has(tmp_path: Path, kind: str, quantize: Any) -> None:
    base = load(save_full(tmp_path, kind), quantize)
    check_gradients(base)
    assert not base.model.get_input_embeddings()._forward_hooks


def test_kernels_without_a_backward_are_refused_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load(save_full(tmp_path), "torchao-int8")
    layer = base.model.model.layers[1]
    forward = layer.forward

    def forward_only(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return forward(*args, **kwargs)

    monkeypatch.setattr(layer, "forward", forward_only)
    with pytest.raises(BaseModelError, match=r"none in .*torchao-int8.*base\.interchangeable"):
        check_gradients(base)
