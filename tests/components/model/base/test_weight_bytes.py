"""The bytes of weights: shared ones count once, and quantised ones take fewer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quantized_bases import CPU_QUANTIZERS, load, save_full

from components.model.base.weight_bytes import count_weight_bytes


def test_tied_weights_count_once(build_model: Callable[..., Any]) -> None:
    model = build_model("gpt2")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert count_weight_bytes(model) == 4 * sum(one.numel() for one in model.parameters()) + buffers


@pytest.mark.parametrize("quantize", CPU_QUANTIZERS)
def test_quantised_weights_take_fewer_bytes(quantize: Any, tmp_path: Path) -> None:
    folder = save_full(tmp_path / "base")
    full, quantised = count_weight_bytes(load(folder).model), count_weight_bytes(load(folder, quantize).model)
    assert 0.2 * full < quantised < 0.8 * full
