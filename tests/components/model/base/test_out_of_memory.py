"""Exceptions of torch and Python that mean too little memory, and others that do not."""

import pytest
import torch

from components.model.base.out_of_memory import is_out_of_memory

CPU = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError(CPU),
        RuntimeError("std::bad_alloc"),
    ],
    ids=repr,
)
def test_too_little_memory_is_recognised(problem: BaseException) -> None:
    assert is_out_of_memory(problem)


@pytest.mark.parametrize(
    "problem", [RuntimeError("shapes cannot be multiplied"), ValueError(CPU), KeyboardInterrupt()], ids=repr
)
def test_other_exceptions_are_not(problem: BaseException) -> None:
    assert not is_out_of_memory(problem)
