"""Things kept by bytes, the least recently used going first. Knows keys and sizes; does not know what it keeps."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class LRUCache(Generic[_Value]):
    """At most `limit_bytes` bytes of things; not safe from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        """Nothing kept."""
        self.limit_bytes, self.used_bytes = limit_bytes, 0
        self._entries: OrderedDict[str, tuple[_Value, int]] = OrderedDict()

    def __len__(self) -> int:
        """Things kept."""
        return len(self._entries)

    @property
    def values_by_key(self) -> dict[str, _Value]:
        """Everything that is kept."""
        return {key: thing for key, (thing, _) in self._entries.items()}

    def get(self, key: str) -> _Value | None:
        """A thing, which is now the last used; None where it is not kept."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: str, value: _Value, size: int, pinned: Iterable[str] = ()) -> list[str] | None:
        """Keep a thing in place of what went by its key; returns the keys of those that made room for it.

        None, and nothing changes, where it does not fit beside those that are `pinned`.
        """
        pinned = {*pinned, key}
        before = self._entries[key][1] if key in self._entries else 0
        excess, leaving = self.used_bytes - before + size - self.limit_bytes, []
        for other, (_, bytes_of_it) in self._entries.items():
            if excess <= 0:
                break
            if other not in pinned:
                leaving.append(other)
                excess -= bytes_of_it
        if excess > 0:
            return None
        for other in (*leaving, key):
            self.remove(other)
        self._entries[key] = value, size
        self.used_bytes += size
        return leaving

    def remove(self, key: str) -> None:
        """Keep a thing no longer; one that is not kept is no error."""
        if key in self._entries:
            self.used_bytes -= self._entries.pop(key)[1]
