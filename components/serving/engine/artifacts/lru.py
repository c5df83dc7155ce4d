"""A cache that is bounded in bytes and evicts the least recently used entries that are not pinned.

Knows keys and sizes; does not know what it holds. cachetools has no pins.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class LRUCache(Generic[_Value]):
    """At most `limit_bytes` bytes of values; not thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty."""
        self.limit_bytes, self.used_bytes = limit_bytes, 0
        self._entries: OrderedDict[str, tuple[_Value, int]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def values_by_key(self) -> dict[str, _Value]:
        """All entries."""
        return {key: value for key, (value, _) in self._entries.items()}

    def get(self, key: str) -> _Value | None:
        """Return the value and mark it as used, or None if there is none."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: str, value: _Value, size: int, pinned: Iterable[str] = ()) -> list[str] | None:
        """Add or replace a value of `size` bytes; returns the keys that were evicted for it.

        Returns None and changes nothing if it does not fit beside the `pinned` keys.
        """
        pinned = {*pinned, key}
        old_size = self._entries[key][1] if key in self._entries else 0
        excess, evicted = self.used_bytes - old_size + size - self.limit_bytes, []
        for other, (_, other_size) in self._entries.items():
            if excess <= 0:
                break
            if other not in pinned:
                evicted.append(other)
                excess -= other_size
        if excess > 0:
            return None
        for other in (*evicted, key):
            self.remove(other)
        self._entries[key] = value, size
        self.used_bytes += size
        return evicted

    def remove(self, key: str) -> None:
        """Remove an entry; do nothing if there is none."""
        if key in self._entries:
            self.used_bytes -= self._entries.pop(key)[1]
