"""The memory of a model's weights. Knows modules; does not know devices."""

from itertools import chain
from typing import Any


def count_weight_bytes(model: Any) -> int:
    """Return the bytes of all parameters and buffers; what several modules share counts once."""
    tensors = chain(model.parameters(), model.buffers())
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(sizes.values())
