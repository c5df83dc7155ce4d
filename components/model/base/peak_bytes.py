"""Measure the most memory that a computation's tensors take, on any device, and extrapolate it to longer rows.

Counts the storages that torch's operators make, not what an operator uses inside. Knows tensors; does not know models.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.model.base.quantization import list_stored_tensors

_PROBED_ROWS = (1, 3)
"""Their difference is free of what rows share."""
_LONGEST_PROBE = 192
"""Tokens; recurrent layers compute whole chunks of up to 64."""


def measure_peak_bytes(work: Callable[[], Any]) -> int:
    """Return the most bytes that tensors made by `work` took at once; those that existed before do not count.

    Not for inference mode, in which operators that consist of others are not taken apart.
    """
    with _StorageCounter() as counter:
        work()
    return int(counter.peak)


@dataclass(frozen=True, slots=True)
class RowCost:
    """The memory of a pass over rows, without what does not depend on their tokens."""

    token_bytes: float
    """For each token."""
    pair_bytes: float
    """For each pair of a token and a column that its row has: attention's masks and scores."""

    @classmethod
    def measure(cls, work: Callable[[int, int], Any], most_tokens: int) -> "RowCost":
        """Measure `work(rows, tokens of a row)` for few short rows of at most `most_tokens` tokens."""
        few, many = _PROBED_ROWS
        longest = min(_LONGEST_PROBE, most_tokens)

        def measure(tokens: int) -> float:
            of_few, of_many = (measure_peak_bytes(partial(work, rows, tokens)) for rows in (few, many))
            return (of_many - of_few) / (many - few)

        return cls.fit({tokens: measure(tokens) for tokens in (longest // 3, 2 * longest // 3, longest)})

    @classmethod
    def fit(cls, bytes_by_length: Mapping[int, float]) -> "RowCost":
        """Fit the bytes of rows by their numbers of tokens; three lengths, or more."""
        lengths = torch.tensor([*bytes_by_length], dtype=torch.float64)
        powers = torch.stack([torch.ones_like(lengths), lengths, lengths.square()], dim=1)
        wanted = torch.tensor([*bytes_by_length.values()], dtype=torch.float64)[:, None]
        _, token, pair = torch.linalg.lstsq(powers, wanted).solution[:, 0].tolist()
        return cls(max(token, 0.0), max(pair, 0.0))

    def count_bytes(self, tokens: int, columns: int) -> int:
        """Return the bytes for `tokens` tokens in all, each of a row of `columns` tokens and slots."""
        return round(tokens * (self.token_bytes + self.pair_bytes * columns))


class _StorageCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operators make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.peak = 0, 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operator and count what it makes."""
        self._known.update(_list_storages((args, kwargs)))
        output = func(*args, **(kwargs or {}))
        for storage in _list_storages(output):
            if storage not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._subtract, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return output

    def _subtract(self, size: int) -> None:
        self.now -= size


def _list_storages(values: Any) -> list[torch.UntypedStorage]:
    tensors = (one for one in tree_leaves(values) if isinstance(one, torch.Tensor))
    return [part.untyped_storage() for tensor in tensors for part in list_stored_tensors(tensor)]
