"""The memory of a model's weights. Knows modules; does not know devices."""

from itertools import chain
from typing import Any

from components.model.base.quantization import list_stored_tensors


def count_weight_bytes(model: Any) -> int:
    """Return the bytes of all parameters and buffers, as they are stored; what several modules share counts once."""
    tensors = (part for tensor in chain(model.parameters(), model.buffers()) for part in list_stored_tensors(tensor))
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
