"""Rows in flight, of all tenants and of one."""

import pytest

from components.serving.interface import BusyError
from components.serving.remote.row_limits import RowLimits


def test_rows_are_taken_up_to_the_limits_and_again_when_others_end() -> None:
    limits = RowLimits(5, 3)
    limits.add("a", 3)
    with pytest.raises(BusyError, match="3 of a, and 1 more"):
        limits.add("a", 1)
    limits.add("b", 2)
    with pytest.raises(BusyError, match="got 5 rows, 0 of c"):
        limits.add("c", 1)
    limits.remove("a")
    limits.add("c", 1)
    assert limits.total == 5
    limits.remove("a", 2)
    limits.remove("b", 2)
    limits.remove("c")
    assert limits.total == 0


def test_a_request_with_more_rows_than_a_limit_is_taken_alone() -> None:
    limits = RowLimits(5, 3)
    limits.add("a", 9)
    with pytest.raises(BusyError):
        limits.add("b", 1)
