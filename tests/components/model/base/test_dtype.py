"""The faster type is taken, whichever it is on this machine."""

import pytest
import torch

from components.model.base import dtype as measured
from components.model.base.dtype import measure_fastest_dtype


def test_measures_on_this_machine() -> None:
    assert measure_fastest_dtype("cpu") in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("seconds", "wanted"), [((1.0, 0.5), torch.bfloat16), ((1.0, 0.9), torch.float32), ((1.0, 3.0), torch.float32)]
)
def test_sixteen_bits_only_where_they_are_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], wanted: torch.dtype
) -> None:
    took = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(measured, "_measure_product_seconds", lambda _device, dtype: took[dtype])
    assert measure_fastest_dtype("cpu") == wanted


def test_other_work_on_the_machine_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.dtype] = []

    def seconds(_device: object, dtype: torch.dtype) -> float:
        calls.append(dtype)
        busy = 9.0 if 2 <= len(calls) <= 5 else 1.0
        return busy * (0.5 if dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr(measured, "_measure_product_seconds", seconds)
    assert measure_fastest_dtype("cpu") == torch.bfloat16
    assert calls[:2] == calls[2:4] == [torch.float32, torch.bfloat16]
