"""A bounded cache that tenants share: when it is full, the tenant that uses most of it loses its oldest entry.

So no tenant can push out the entries of one that uses less. Knows no entry's meaning.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class FairCache(Generic[_Key, _Value]):
    """Key -> value, at most `max_entries` and `max_size` in all; use it from one thread."""

    def __init__(
        self, max_entries: int, max_size: float = float("inf"), on_drop: Callable[[_Key], None] | None = None
    ) -> None:
        """`on_drop` is called with the key of each entry that is dropped or removed."""
        self._max_entries, self._max_size, self._on_drop = max_entries, max_size, on_drop
        self._entries: dict[_Key, tuple[str, _Value, int]] = {}
        """Key -> tenant, value, size; oldest first."""
        self._keys: dict[str, deque[_Key]] = {}
        """Tenant -> its keys, oldest first."""
        self._sizes: Counter[str] = Counter()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: _Key) -> bool:
        return key in self._entries

    def get(self, key: _Key) -> _Value | None:
        """Return the value, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def put(self, tenant: str, key: _Key, value: _Value, size: int = 1) -> None:
        """Add an entry under a new key; an entry that is larger than `max_size` is not kept."""
        self._entries[key] = tenant, value, size
        self._keys.setdefault(tenant, deque()).append(key)
        self._sizes[tenant] += size
        self._size += size
        while len(self._entries) > self._max_entries:
            self._drop_oldest(max(self._keys, key=lambda one: len(self._keys[one])))
        while self._size > self._max_size:
            self._drop_oldest(max(self._keys, key=self._sizes.__getitem__))

    def remove_tenant(self, tenant: str) -> None:
        """Remove a tenant's entries."""
        while tenant in self._keys:
            self._drop_oldest(tenant)

    def _drop_oldest(self, tenant: str) -> None:
        keys = self._keys[tenant]
        key = keys.popleft()
        _, _, size = self._entries.pop(key)
        self._sizes[tenant] -= size
        self._size -= size
        if not keys:
            del self._keys[tenant], self._sizes[tenant]
        if self._on_drop is not None:
            self._on_drop(key)
