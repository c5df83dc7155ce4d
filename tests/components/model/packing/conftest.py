"""Random ragged rows behind random prefixes."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from components.model.packing.layout import PackedLayout


@dataclass(frozen=True)
class Ragged:
    """What a layout is made from; `starts` of infixes, and the token of each row that is wanted first."""

    lengths: list[int]
    owners: list[int]
    prefixes: list[int]
    starts: list[int] | None
    wanted: list[int]

    def layout(self) -> PackedLayout:
        return PackedLayout.from_lengths(self.lengths, self.owners, self.prefixes, starts=self.starts)

    @property
    def tokens(self) -> list[tuple[int, int]]:
        """Row and place of every token."""
        return [(row, place) for row, length in enumerate(self.lengths) for place in range(length)]

    def slots(self, row: int, place: int) -> range:
        """The slots that a token sees."""
        owner = self.owners[row]
        first = sum(self.prefixes[:owner])
        seen = self.starts is None or place >= self.starts[row]
        return range(first, first + self.prefixes[owner] * seen)


@st.composite
def _ragged(draw: st.DrawFn) -> Ragged:
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    prefixes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    places = st.tuples(*(st.integers(0, length - 1) for length in lengths)).map(list)
    return Ragged(
        lengths,
        [draw(st.integers(0, len(prefixes) - 1)) for _ in lengths],
        prefixes,
        draw(st.none() | places),
        draw(places),
    )


@pytest.fixture(scope="session")
def ragged() -> st.SearchStrategy[Ragged]:
    return _ragged()


@pytest.fixture(scope="session")
def fixed() -> Ragged:
    return Ragged([5, 3, 7], [1, 0, 1], [2, 3], None, [2, 0, 4])
