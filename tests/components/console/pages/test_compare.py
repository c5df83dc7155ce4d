"""Two versions side by side in a real browser: marks, filters, the blind mode, and text that stays text."""

import json
from contextlib import closing

import pytest
from browser import follow
from console_fleet import SCRIPT
from served_console import serve_console_in_thread

from components.rollout.store.preferences import read_tally
from components.stages.workspace import Workspace


def change_predictions(root):
    """Let the outputs of alder's two versions be known texts: one row better, one worse, the others equal."""
    folder = root / "out/evaluate/alder"
    for path, texts in ((folder / "champion", ("", "alder has it.")), (folder, ("alder has it.", SCRIPT))):
        lines = [json.loads(line) for line in (path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        for number, line in enumerate(lines):
            line["prediction"] = texts[number] if number < 2 else "the same"
        (path / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture(scope="module")
def served(make_fleet_root, tmp_path_factory):
    root = make_fleet_root(tmp_path_factory.mktemp("compared"))
    change_predictions(root)
    with serve_console_in_thread(root) as console:
        yield console


def test_rows_are_shown_with_their_differences_the_largest_change_first(log_in, find_barriers, take_shot):
    page = log_in("/tenants/alder/compare")
    assert page.locator("#first").input_value() == "1"
    assert page.locator("#second").input_value() == "2"
    assert "wins 1, loses 1 and ties 4 of 6 rows" in page.locator(".counts").inner_text()
    rows = page.locator("article")
    assert rows.count() == 6
    assert "Row 1" in rows.first.inner_text() or "Row 2" in rows.first.inner_text()
    assert page.locator("article ins").first.evaluate("one => getComputedStyle(one).textDecorationLine") == "underline"
    assert (
        page.locator("article del").first.evaluate("one => getComputedStyle(one).textDecorationLine") == "line-through"
    )
    assert "<script>" in page.locator("article", has_text="Row 2").inner_text()
    assert page.title() == "alder · PrefixFleet"
    page.select_option("#outcome", "win")
    follow(page, "main form.tools button")
    assert page.locator("article h3").all_inner_texts()[0].startswith("Row 1")
    page.select_option("#slice", "unseen")
    follow(page, "main form.tools button")
    assert "No row matches" in page.locator("main").inner_text()
    assert find_barriers(page) == []


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)]
)
def test_nothing_bars_readers_of_the_comparison(log_in, check_look, name, width, dark):
    page = log_in("/tenants/alder/compare", width=width, dark=dark)
    check_look(page, f"compare-{name}")


def test_a_person_chooses_blind_and_the_tally_is_feedback_on_the_version(log_in, served, find_barriers, take_shot):
    page = log_in("/tenants/alder/compare")
    follow(page, "text=Choose blind")
    take_shot(page, "compare-blind")
    assert find_barriers(page) == []
    for _ in range(2):
        sections = page.locator("form section")
        texts = [one.inner_text() for one in sections.all()]
        better = next(number for number, text in enumerate(texts) if "alder has it" in text)
        follow(page, f"form section >> nth={better} >> button")
    assert "You have judged every row" in page.locator("main").inner_text()
    follow(page, "text=Back to the rows")
    assert "version 2 preferred in 1 of 2 choices" in page.locator(".tally").inner_text()
    with closing(Workspace(served.sources.root).database) as database:
        tally = read_tally(database, "alder", "1", "2")
    assert (tally.first, tally.second) == (1, 1)
    page.goto(f"{served.url}/tenants/alder")
    told = page.locator("section[aria-labelledby=feedback-title]").inner_text()
    for number in (1, 2):
        assert f"blind comparison with version 1: version {number} preferred" in told


def test_versions_without_predictions_or_that_do_not_exist_say_so(log_in):
    page = log_in("/tenants/alder/compare?first=9")
    assert "a version of this tenant" in page.locator("main").inner_text()
    page.goto(page.url.replace("first=9", "first=2&second=2"))
    assert "two versions" in page.locator("main").inner_text()


def test_a_tenants_key_compares_its_own_versions_and_cannot_choose(served, log_in):
    key = served.keys.create("birch")[1]
    page = log_in("/tenants/birch/compare?first=base", key)
    assert "article" in page.content()
    assert page.locator("text=Choose blind").count() == 0
    for path in ("/tenants/alder/compare", "/tenants/birch/compare/blind?first=base&second=1"):
        answer = page.request.get(f"{served.url}{path}")
        assert answer.status in (403, 404)
        assert "article" not in answer.text()
