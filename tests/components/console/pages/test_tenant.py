"""The pages of a tenant: what happened and who did it, versions beside the champion, data and its changes."""

import pytest
from browser import follow


@pytest.mark.parametrize(
    ("name", "path", "width", "dark"),
    [
        ("tenant-light", "/tenants/alder", 1280, False),
        ("tenant-dark", "/tenants/alder", 1280, True),
        ("tenant-phone", "/tenants/alder", 360, False),
        ("versions-light", "/tenants/alder/versions?version=2", 1280, False),
        ("versions-phone", "/tenants/alder/versions?version=2", 360, True),
        ("data-light", "/tenants/birch/data", 1280, False),
        ("data-phone", "/tenants/birch/data", 360, False),
    ],
)
def test_nothing_bars_keyboards_and_screen_readers(console, open_page, check_look, name, path, width, dark):
    page = open_page(f"{console.url}{path}", width, dark=dark)
    check_look(page, name)
    assert "PrefixFleet" in page.title()


def test_the_timeline_says_who_did_what_and_why(console, open_page):
    page = open_page(f"{console.url}/tenants/alder")
    entries = page.locator(".timeline li").all_inner_texts()
    assert len(entries) == 2
    assert "challenge version 1 → 2" in entries[0]
    assert "by retrain" in entries[0]
    assert "it passed the gate" in entries[1]
    rejected = open_page(f"{console.url}/tenants/birch").locator(".timeline li.reject")
    assert "below its floor" in rejected.inner_text()


def test_usage_and_feedback_are_shown_and_a_script_in_them_stays_text(console, open_page):
    page = open_page(f"{console.url}/tenants/alder")
    assert page.locator("section[aria-labelledby=usage-title] tbody tr").count() >= 2
    cards = page.locator("section[aria-labelledby=feedback-title] .card").all_inner_texts()
    assert len(cards) == 3
    assert "<script>" in cards[0]
    assert page.title() == "alder · PrefixFleet"


def test_the_cost_of_each_day_and_of_the_month_is_shown_if_there_are_prices(console, open_page):
    usage = open_page(f"{console.url}/tenants/alder").locator("section[aria-labelledby=usage-title]")
    assert usage.locator("thead th").last.inner_text() == "Cost"
    assert usage.locator("tbody tr").first.locator("td").last.inner_text() == "42.0000 EUR"
    assert "Cost of this month so far, with training and storage: 42.0000 EUR" in usage.inner_text()


def test_a_version_is_shown_beside_the_champion_with_its_loss_and_origin(console, open_page):
    page = open_page(f"{console.url}/tenants/alder/versions?version=2")
    row = page.locator("section[aria-labelledby=scores-title] tbody tr", has_text="bleu").first
    assert row.locator("td").count() == 5
    assert "–" not in row.inner_text()
    assert page.locator(".chart canvas").count() == 1
    assert page.locator("section[aria-labelledby=loss-title] details tbody tr").count() == 4
    lineage = page.locator("section[aria-labelledby=lineage-title]").inner_text()
    for label in ("dataset version", "code", "base", "fingerprint", "artifact"):
        assert label in lineage


def test_changes_between_dataset_versions_are_marked_line_by_line(console, open_page):
    page = open_page(f"{console.url}/tenants/birch/data")
    follow(page, "button:text('Compare')")
    change = page.locator(".diff", has_text="train:")
    assert "12 added, 12 removed" in change.inner_text()
    assert "<script>" in change.locator(".added").first.inner_text() + change.inner_text()
    assert page.title() == "birch · PrefixFleet"


def test_an_unknown_tenant_or_version_is_not_found(console, open_page):
    for path in ("/tenants/nobody", "/tenants/alder/versions?version=9", "/tenants/alder/data?old=1&new=2"):
        assert "Not possible" in open_page(f"{console.url}{path}").locator("h1").inner_text()
