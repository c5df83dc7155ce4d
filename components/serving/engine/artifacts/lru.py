"""Things kept by bytes, the least recently used going first. Knows keys and sizes; does not know what it keeps."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing")


class Shelf(Generic[_Thing]):
    """At most `limit` bytes of things; not safe from several threads."""

    def __init__(self, limit: int) -> None:
        """Nothing kept."""
        self.limit, self.bytes = limit, 0
        self._things: OrderedDict[str, tuple[_Thing, int]] = OrderedDict()

    def __len__(self) -> int:
        """Things kept."""
        return len(self._things)

    @property
    def things(self) -> dict[str, _Thing]:
        """Everything that is kept."""
        return {key: thing for key, (thing, _) in self._things.items()}

    def get(self, key: str) -> _Thing | None:
        """A thing, which is now the last used; None where it is not kept."""
        if key not in self._things:
            return None
        self._things.move_to_end(key)
        return self._things[key][0]

    def put(self, key: str, thing: _Thing, size: int, held: Iterable[str] = ()) -> list[str] | None:
        """Keep a thing in place of what went by its key; returns the keys of those that made room for it.

        None, and nothing changes, where it does not fit beside those that are `held`.
        """
        held = {*held, key}
        before = self._things[key][1] if key in self._things else 0
        excess, leaving = self.bytes - before + size - self.limit, []
        for other, (_, bytes_of_it) in self._things.items():
            if excess <= 0:
                break
            if other not in held:
                leaving.append(other)
                excess -= bytes_of_it
        if excess > 0:
            return None
        for other in (*leaving, key):
            self.drop(other)
        self._things[key] = thing, size
        self.bytes += size
        return leaving

    def drop(self, key: str) -> None:
        """Keep a thing no longer; one that is not kept is no error."""
        if key in self._things:
            self.bytes -= self._things.pop(key)[1]
