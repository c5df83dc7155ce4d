"""Recognise exceptions that mean too little memory. Knows torch's messages; does not know what was computed."""

import torch

_MESSAGES = ("not enough memory", "can't allocate memory", "bad_alloc", "out of memory")


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether `problem` means that the device or the host had too little memory."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in _MESSAGES)
