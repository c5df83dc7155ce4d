"""What a promise is, and the table of promises at the end of a day."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MOST_SHOWN = 3


@dataclass(frozen=True)
class Promise:
    """A promise, what happened, and whether it was kept."""

    words: str
    happened: str
    broken: Sequence[str] = ()

    @property
    def is_kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.broken


def print_table(promises: Iterable[Promise]) -> int:
    """Print a row for each promise; return how many are broken."""
    broken = 0
    print(f"\n{'promised':52} {'kept':5} what happened")
    for one in promises:
        broken += not one.is_kept
        print(f"{one.words:52} {'yes' if one.is_kept else 'NO':5} {one.happened}")
        for problem in one.broken[:_MOST_SHOWN]:
            print(f"{'':58} ! {problem}")
        if len(one.broken) > _MOST_SHOWN:
            print(f"{'':58} ! and {len(one.broken) - _MOST_SHOWN} more")
    return broken
