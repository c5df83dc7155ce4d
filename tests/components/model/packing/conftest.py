"""Random rows of different lengths with random prefixes."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from components.model.packing.layout import PackedLayout


@dataclass(frozen=True)
class Ragged:
    """The arguments of a layout; `starts` of infixes, and the first wanted token of each row."""

    lengths: list[int]
    owners: list[int]
    prefixes: list[int]
    starts: list[int] | None
    wanted: list[int]

    def layout(self) -> PackedLayout:
        return PackedLayout.from_lengths(self.lengths, self.owners, self.prefixes, starts=self.starts)

    @property
    def tokens(self) -> list[tuple[int, int]]:
        """Row and column of every token."""
        return [(row, column) for row, length in enumerate(self.lengths) for column in range(length)]

    def slots(self, row: int, column: int) -> range:
        """The slots that a token attends to."""
        owner = self.owners[row]
        first = sum(self.prefixes[:owner])
        visible = self.starts is None or column >= self.starts[row]
        return range(first, first + self.prefixes[owner] * visible)


@st.composite
def _ragged(draw: st.DrawFn) -> Ragged:
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    prefixes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    columns = st.tuples(*(st.integers(0, length - 1) for length in lengths)).map(list)
    return Ragged(
        lengths,
        [draw(st.integers(0, len(prefixes) - 1)) for _ in lengths],
        prefixes,
        draw(st.none() | columns),
        draw(columns),
    )


@pytest.fixture(scope="session")
def ragged() -> st.SearchStrategy[Ragged]:
    return _ragged()


@pytest.fixture(scope="session")
def fixed() -> Ragged:
    return Ragged([5, 3, 7], [1, 0, 1], [2, 3], None, [2, 0, 4])
