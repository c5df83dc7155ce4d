"""The dtype that is measured to be faster is chosen."""

import pytest
import torch

from components.model.base import dtype as measured
from components.model.base.dtype import measure_fastest_dtype


def test_measuring_on_this_machine_returns_a_dtype() -> None:
    assert measure_fastest_dtype("cpu") in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("seconds", "wanted"), [((1.0, 0.5), torch.bfloat16), ((1.0, 0.9), torch.float32), ((1.0, 3.0), torch.float32)]
)
def test_bfloat16_is_chosen_only_if_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], wanted: torch.dtype
) -> None:
    by_dtype = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(measured, "_measure_product_seconds", lambda _device, dtype: by_dtype[dtype])
    assert measure_fastest_dtype("cpu") == wanted


def test_other_work_on_the_machine_does_not_change_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.dtype] = []

    def seconds(_device: object, dtype: torch.dtype) -> float:
        calls.append(dtype)
        busy = 9.0 if 2 <= len(calls) <= 5 else 1.0
        return busy * (0.5 if dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr(measured, "_measure_product_seconds", seconds)
    assert measure_fastest_dtype("cpu") == torch.bfloat16
    assert calls[:2] == calls[2:4] == [torch.float32, torch.bfloat16]


def test_a_type_that_is_many_times_slower_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.dtype] = []

    def seconds(_device: object, dtype: torch.dtype) -> float:
        calls.append(dtype)
        return 70.0 if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(measured, "_measure_product_seconds", seconds)
    assert measure_fastest_dtype("cpu") == torch.float32
    assert calls == [torch.float32, torch.bfloat16]
