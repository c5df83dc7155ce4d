"""Pages of OpenAI's lists: `after` is the id of the last item that the client has. Knows no list."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from components.serving.errors import RefusalError

MAX_PAGE = 10_000
"""The largest page of lists without a limit of OpenAI's."""

_Item = TypeVar("_Item")


def take_page(
    items: Sequence[_Item], get_id: Callable[[_Item], str], after: str | None, limit: int
) -> tuple[Sequence[_Item], bool]:
    """Return the items after the one with the id `after` (None: from the first), and whether there are more.

    Raises RefusalError: 400, there is no item with this id.
    """
    start = 0
    if after is not None:
        ids = [get_id(item) for item in items]
        if after not in ids:
            raise RefusalError(400, "after: the id of an item of the list", repr(after[:100]), "correct after")
        start = ids.index(after) + 1
    return items[start : start + limit], len(items) > start + limit
