from types import SimpleNamespace

import bitsandbytes.functional
import pytest
import torch
from bitsandbytes.functional import quantize_4bit

from components.errors import BaseModelError
from components.model.base.four_bit_kernels import check_four_bit_kernels


def make_model(*widths, kind="nf4", block=64):
    parameters = []
    for width in widths:
        packed, state = quantize_4bit(torch.randn(64, width), blocksize=block, quant_type=kind)
        packed.quant_state = state
        parameters.append(packed)
    return SimpleNamespace(parameters=lambda: [torch.zeros(3), *parameters])


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_layers_of_whole_blocks_are_read_as_they_are_stored(kind):
    check_four_bit_kernels(make_model(64, 128, 4096, kind=kind), "base")
    check_four_bit_kernels(make_model(128, block=128, kind=kind), "base")


def test_other_widths_are_refused_exactly_where_this_cpu_reads_them_wrongly():
    for width in (16, 30, 32, 40, 96, 160):
        weight = torch.randn(64, width)
        read = bitsandbytes.functional.dequantize_4bit(*quantize_4bit(weight, blocksize=64, quant_type="nf4"))
        if (read - weight).std() < 0.12 * weight.std():  # 0.09 of random weights; wrong scales make 0.14 and more
            check_four_bit_kernels(make_model(width), "base")
        else:
            with pytest.raises(BaseModelError, match=f" {width} inputs"):
                check_four_bit_kernels(make_model(width), "base")


def test_a_wrong_scale_is_refused(monkeypatch):
    def shift_scales(packed, state):
        state.absmax = state.absmax.roll(1)
        return read(packed, state)

    read = bitsandbytes.functional.dequantize_4bit
    monkeypatch.setattr(bitsandbytes.functional, "dequantize_4bit", shift_scales)
    with pytest.raises(BaseModelError, match="64 inputs, for which bitsandbytes computes wrong values"):
        check_four_bit_kernels(make_model(64), "base")
