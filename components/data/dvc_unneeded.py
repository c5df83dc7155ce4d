"""Which objects of DVC's cache or of a remote may go. Pure: knows no store and no repository.

A listing (`.dir`) names the files of a folder. Listings go that are old and that nothing refers to; with them the files
that are old and that no listing names which stays. So an object of another workspace stays, as its listing does.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

LISTING_SUFFIX = ".dir"


@dataclass(frozen=True, slots=True)
class StoreContent:
    """What is in a store."""

    written_s: Mapping[str, float]
    """Object -> when it was written, in seconds since 1970, by the store's clock."""
    listings: Mapping[str, Collection[str]]
    """Listing -> the objects that it names."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Objects that may go. Listings go first: a listing says that its files are there."""

    listings: list[str]
    files: list[str]


def choose_unneeded(
    content: StoreContent,
    needed: Collection[str],
    before_s: float,
    *,
    known: Collection[str] | None = None,
    begun: Collection[str] = (),
) -> Unneeded:
    """Return the objects that nothing needs.

    Args:
        content: of the store.
        needed: objects that must stay; of a listing also all that it names.
        before_s: objects that were written later stay, by the store's clock.
        known: listings and files of this workspace; None: the whole store is its own. Others stay, with what they name.
        begun: files that an interrupted removal was to remove, and whose listing may be gone.
    """
    written_s = content.written_s
    going = {
        name
        for name, files in content.listings.items()
        if name not in needed
        and (known is None or name in known)
        and written_s[name] < before_s
        and all(written_s.get(file, 0.0) < before_s for file in files)
    }
    staying = {file for name, files in content.listings.items() if name not in going for file in files}
    files = {name for name in written_s if not name.endswith(LISTING_SUFFIX)}
    own = files if known is None else {file for name in going for file in content.listings[name]} | {*begun, *known}
    may_go = (own & files) - staying - set(needed)
    return Unneeded(sorted(going), sorted(name for name in may_go if written_s[name] < before_s))
