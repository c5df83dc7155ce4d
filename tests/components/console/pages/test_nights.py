"""The runs: a list with its trend, and each with its shards by worker, what was refused and what it cost."""

import pytest


@pytest.mark.parametrize(
    ("name", "path", "width", "dark"),
    [
        ("nights-light", "/nights", 1280, False),
        ("nights-phone", "/nights", 360, True),
        ("night-dark", "/nights/1", 1280, True),
        ("night-phone", "/nights/1", 360, False),
    ],
)
def test_nothing_bars_keyboards_and_screen_readers(
    console, open_page, find_barriers, take_shot, name, path, width, dark
):
    page = open_page(f"{console.url}{path}", width, dark=dark)
    take_shot(page, name)
    assert find_barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_night_shows_its_shards_by_worker_and_why_a_prefix_was_refused(console, open_page):
    page = open_page(f"{console.url}/nights")
    page.goto(f"{console.url}/nights/2")
    lanes = page.locator(".lane-row")
    assert lanes.count() == 2
    assert "gpu-1:7" in lanes.first.inner_text()
    assert lanes.first.locator("rect").count() == 1
    row = page.locator("section[aria-labelledby=tenants-title] tbody tr", has_text="birch")
    assert "rejected" in row.inner_text()
    assert "below its floor" in row.inner_text()
    assert "30.5" in row.inner_text()


def test_the_list_has_every_run_and_its_trend(console, open_page):
    page = open_page(f"{console.url}/nights")
    assert page.locator("tbody tr", has_text="run 2").count() == 1
    assert page.locator(".chart canvas").count() == 2


def test_an_unknown_night_is_not_found(console, open_page):
    assert "one of the last" in open_page(f"{console.url}/nights/99").locator("dl").inner_text()
