"""The runs: a list with its trend, and each with its shards by worker, what was refused and what it cost."""

import pytest
from browser import follow
from served_console import serve_console_in_thread

from components.rollout.store.runs import begin_run_entry


@pytest.mark.parametrize(
    ("name", "path", "width", "dark"),
    [
        ("nights-light", "/nights", 1280, False),
        ("nights-phone", "/nights", 360, True),
        ("night-dark", "/nights/1", 1280, True),
        ("night-phone", "/nights/1", 360, False),
    ],
)
def test_nothing_bars_keyboards_and_screen_readers(console, open_page, check_look, name, path, width, dark):
    page = open_page(f"{console.url}{path}", width, dark=dark)
    check_look(page, name)


def test_a_night_shows_its_shards_by_worker_and_why_a_prefix_was_refused(console, open_page):
    page = open_page(f"{console.url}/nights")
    page.goto(f"{console.url}/nights/2")
    lanes = page.locator(".lane-row")
    assert lanes.count() == 2
    assert "gpu-1:7" in lanes.first.inner_text()
    assert lanes.first.locator("rect").count() == 1
    assert lanes.locator("rect.rejected").count() == 1
    row = page.locator("section[aria-labelledby=tenants-title] tbody tr", has_text="birch")
    assert "rejected" in row.inner_text()
    assert "below its floor" in row.inner_text()
    assert "30.5" in row.inner_text()
    assert "24,690" in row.inner_text()
    assert "37,035" in page.locator(".figures", has_text="training tokens").inner_text()


def test_the_report_of_a_night_is_a_page_of_its_own_in_its_own_style(console, open_page, find_barriers):
    page = open_page(f"{console.url}/nights/2")
    errors = []
    page.on("console", lambda message: errors.append(message.text))
    follow(page, "text=report to save or send")
    assert page.url.endswith("/nights/2/report")
    assert "1 tenant needs a person" in page.locator("header").inner_text()
    assert page.locator("li.rejected").evaluate("one => getComputedStyle(one).borderLeftStyle") == "solid"
    assert (errors, find_barriers(page)) == ([], [])
    assert page.goto(f"{console.url}/nights/99/report").status == 404


def test_the_list_has_every_run_and_its_trend(console, open_page):
    page = open_page(f"{console.url}/nights")
    assert page.locator("tbody tr", has_text="run 2").count() == 1
    assert page.locator(".chart canvas").count() == 3


def test_old_runs_are_on_further_pages_and_open_by_their_address(make_fleet_root, tmp_path, open_page, find_barriers):
    root = make_fleet_root(tmp_path)
    with serve_console_in_thread(root) as served:
        for _ in range(60):
            begin_run_entry(served.sources.database, "hand", "ada", "2026-01-04T00:00:00+00:00")
        page = open_page(f"{served.url}/nights")
        assert page.locator("tbody th").first.inner_text() == "run 63"
        assert "63 runs, page 1 of 2" in page.locator("nav.pages").inner_text()
        follow(page, "text=Next")
        assert page.locator("section table, .scroll table").last.locator("tbody th").all_inner_texts() == [
            "run 3",
            "run 2",
            "run 1",
        ]
        assert find_barriers(page) == []
        follow(page, "text=run 1")
        assert "12,345" in page.locator("section[aria-labelledby=tenants-title]").inner_text()


def test_a_run_without_a_result_says_when_its_tenants_are_listed(console, open_page):
    text = open_page(f"{console.url}/nights/3").locator("main").inner_text()
    assert "still running, or it was stopped" in text
    assert "listed once the run has ended" in text


@pytest.mark.parametrize("number", ["0", "99", "99999999999999999999"])
def test_an_unknown_night_is_not_found(console, open_page, number):
    assert "a run of this fleet" in open_page(f"{console.url}/nights/{number}").locator("dl").inner_text()
