"""Free memory: what the machine has, or what a control group leaves."""

from pathlib import Path

import psutil
import pytest
import torch
from control_group import write_limits

from components.model.base import free_memory
from components.model.base.free_memory import read_free_bytes

CPU = torch.device("cpu")


def test_free_memory_is_what_the_control_group_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = float(psutil.virtual_memory().total)
    monkeypatch.setattr(free_memory, "_CGROUP", write_limits(tmp_path, memory_max="5000000", memory_current="2000000"))
    assert read_free_bytes(CPU) == 3_000_000
    write_limits(tmp_path, memory_max="max")
    assert 3_000_000 < read_free_bytes(CPU) <= there
    write_limits(tmp_path, memory_max=str(10**18))
    assert 3_000_000 < read_free_bytes(CPU) <= there
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path / "none")
    assert 3_000_000 < read_free_bytes(CPU) <= there
