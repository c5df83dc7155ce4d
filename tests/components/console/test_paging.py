"""Pages of a list: the wanted one, or the nearest that there is."""

import pytest

from components.console.paging import Page, find_page


@pytest.mark.parametrize(("wanted", "number"), [(-3, 1), (0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (10**30, 3)])
def test_a_page_that_does_not_exist_is_the_nearest_one(wanted, number):
    assert find_page(23, wanted, 10) == Page(number, 3, 23, 10)


def test_every_row_is_on_one_page():
    rows = list(range(23))
    assert [row for number in (1, 2, 3) for row in find_page(23, number, 10).cut(rows)] == rows
    assert list(find_page(23, 3, 10).cut(rows)) == [20, 21, 22]


def test_an_empty_list_has_one_page_and_a_full_one_no_empty_page():
    assert find_page(0, 5, 10) == Page(1, 1, 0, 10)
    assert find_page(20, 5, 10).number == 2
