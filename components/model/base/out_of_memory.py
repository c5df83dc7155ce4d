"""Tell that memory has run out from every other trouble. Knows what torch says; does not know who asked for memory."""

import torch

_MESSAGES = ("not enough memory", "can't allocate memory", "bad_alloc", "out of memory")


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether there was too little memory on the device, or on the host, for what was to be computed."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in _MESSAGES)
