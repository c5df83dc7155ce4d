"""The start page in a real browser: what needs attention, the table, and text of tenants that stays text."""

import httpx
import pytest
from playwright.sync_api import expect
from waiting import LIMIT_S


@pytest.fixture
def page(console, open_page):
    """The start page, once the fleet was read."""
    opened = open_page(f"{console.url}/")
    expect(opened.locator("table.fleet tbody tr")).to_have_count(3)
    return opened


def test_every_tenant_has_a_row_and_what_needs_a_person_comes_first(page, take_shot):
    expect(page.locator("table.fleet tbody tr")).to_have_count(3)
    titles = page.locator(".card h3 a").all_inner_texts()
    assert titles == ["Failed in the last run", "Refused by the gate"]
    assert page.locator("table.fleet tbody th").first.inner_text() == "cedar"
    take_shot(page, "fleet-light")


def test_search_filter_and_order_change_the_table_without_a_new_page(page):
    page.evaluate("window.stays = true")
    names = page.locator("table.fleet tbody th")
    page.fill("#search", "ald")
    expect(names).to_have_text(["alder"])
    page.fill("#search", "")
    expect(names).to_have_count(3)
    page.select_option("#state", "refused")
    expect(names).to_have_text(["birch"])
    page.select_option("#state", "")
    expect(names).to_have_count(3)
    page.click("thead a:text('Tenant')")
    expect(names).to_have_text(["alder", "birch", "cedar"])
    assert page.evaluate("window.stays")
    assert "sort=tenant" in page.url


def test_a_search_that_finds_nothing_says_what_to_do(console, open_page):
    page = open_page(f"{console.url}/?search=nobody")
    assert "Clear the search" in page.locator("#fleet-table").inner_text()


def test_text_of_a_tenant_stays_text(page):
    assert "<script>" in page.locator(".card", has_text="Failed in the last run").inner_text()
    assert page.title() == "Fleet · PrefixFleet"


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)]
)
def test_nothing_bars_keyboards_and_screen_readers(console, open_page, check_look, name, width, dark):
    page = open_page(f"{console.url}/", width, dark=dark)
    expect(page.locator("table.fleet tbody tr")).to_have_count(3)
    check_look(page, f"fleet-{name}")


def test_times_are_in_the_readers_zone(page):
    assert page.locator(".head time").inner_text().endswith(("CET", "CEST", "GMT+1", "GMT+2"))


def test_an_open_page_is_told_of_a_newer_fleet(console):
    with httpx.stream("GET", f"{console.url}/events?after=0", timeout=LIMIT_S) as answer:
        assert any(line == "event: fleet" for line in answer.iter_lines())
