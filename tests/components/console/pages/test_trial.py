"""A trial in a real browser: its evidence as pictures, and moves by clicks that stand in the ledger with a name."""

from contextlib import closing
from dataclasses import replace

import pytest
from browser import follow
from playwright.sync_api import expect
from served_console import serve_console_in_thread

from components.rollout.store.ledger import read_history
from components.rollout.store.observations import write_counts
from components.rollout.store.tenant_state import read_state, write_states
from components.rollout.types import Observation, ShareChange
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace


def age_trial(root, hours=2):
    """Let alder's trial have begun two hours ago, with answers of both versions in every minute since."""
    workspace = Workspace(root)
    with closing(workspace.database) as database:
        state = read_state(database, "alder")
        began = int(state.started_s - hours * 3600)
        with database.transaction("to age a trial") as connection:
            changes = (ShareChange(began, state.share),)
            aged = replace(state, started_s=float(began), step_started_s=float(began), changes=changes)
            write_states(connection, [aged])
        cells = [
            Observation(
                tenant="alder",
                version=version,
                arm=arm,
                minute=began // 60 + at,
                section=section,
                requests=6,
                errors=bad,
            )
            for section in (0, began)
            for at in range(1, 60 * hours - 5)
            for version, arm, bad in (("1", "champion", 0), ("2", "challenger", at % 40 == 0))
        ]
        write_counts(database, cells)


@pytest.fixture(scope="module")
def served(make_fleet_root, tmp_path_factory):
    root = make_fleet_root(tmp_path_factory.mktemp("trial"))
    age_trial(root)
    with serve_console_in_thread(root, refresh_seconds=600) as console:
        yield console


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)]
)
def test_the_evidence_is_drawn_against_its_boundary(log_in, find_barriers, check_look, name, width, dark):
    page = log_in("/tenants/alder/trial", width=width, dark=dark)
    page.wait_for_selector("[data-chart='evidence-errors'] canvas")
    check_look(page, f"trial-{name}")
    text = page.locator("main").inner_text()
    assert "Version 2 on trial against version 1" in text
    assert "Next:" in text
    assert page.locator("#trial > .hint time").count() == 1
    errors = page.locator("section[aria-labelledby='evidence-title'] tbody tr").first.inner_text()
    assert "errors" in errors
    assert "of 684" in errors
    assert page.locator("[data-chart='traffic'] canvas").count() == 1
    assert "Evidence on errors" in page.locator("figcaption").all_inner_texts()
    page.locator("summary", has_text="Numbers of Evidence on errors").click()
    table = page.locator("#evidence-errors-numbers table")
    assert table.locator("caption").text_content() == "Evidence on errors"
    assert table.locator("thead th").all_inner_texts() == ["answers", "Line", "evidence, as a power of ten"]
    assert find_barriers(page) == []


def test_a_trial_is_moved_by_clicks_and_the_ledger_has_the_name(log_in, served, find_barriers, take_shot):
    page = log_in("/tenants/alder/trial")
    for move, said in (("Pause", "keeps answering 50%"), ("Resume", "goes on at 50%"), ("Promote", "becomes champion")):
        follow(page, f"text={move}…")
        assert said in page.locator(".sentence").inner_text()
        if move == "Promote":
            take_shot(page, "trial-confirm")
            assert find_barriers(page) == []
            follow(page, "text=Cancel")
            follow(page, f"text={move}…")
        follow(page, f"main button:text-is('{move}')")
        assert page.url.endswith("/tenants/alder/trial")
    assert "No trial is running" in page.locator("main").inner_text()
    history = read_history(served.sources.database, "alder")
    assert [(one.action, one.by.split(" ")[0]) for one in history[-3:]] == [
        ("pause", "ada"),
        ("resume", "ada"),
        ("promote", "ada"),
    ]
    assert {one.origin for one in history[-3:]} == {"console from 127.0.0.1"}
    assert ", console from 127.0.0.1" in page.locator(".timeline li").first.inner_text()
    assert served.sources.registry.find_aliases("alder") == {"champion": "2"}


def test_an_open_page_follows_the_trial_and_keeps_its_tables_open(make_fleet_root, tmp_path, open_page):
    root = make_fleet_root(tmp_path)
    age_trial(root)
    with serve_console_in_thread(root, refresh_seconds=0.2) as served:
        page = open_page(f"{served.url}/tenants/alder/trial")
        page.evaluate("window.stays = true")
        numbers = page.locator("#traffic-numbers")
        numbers.locator("summary").click()
        workspace = Workspace(root)
        with closing(workspace.database):
            manual.hold(workspace, "alder", "pause", Actor("eve"))
        expect(page.locator("h2 .badge")).to_have_text("paused")
        expect(page.locator(".timeline li").first).to_contain_text("by eve")
        expect(page.locator("[data-chart='traffic'] canvas")).to_have_count(1)
        expect(numbers).to_have_attribute("open", "")
        assert page.evaluate("window.stays")
    note = page.locator("#trial > [role=status]")
    expect(note).to_contain_text("the console does not answer")
    assert page.locator(".timeline li").count() > 0


def test_a_page_that_shows_what_is_so_is_not_sent_again(log_in, served):
    page = log_in("/tenants/alder/trial")
    url = page.locator("#trial").get_attribute("hx-get")
    answer = page.request.get(f"{served.url.removesuffix('/console')}{url}", headers={"hx-request": "true"})
    assert (answer.status, answer.text()) == (204, "")


def test_a_move_for_another_situation_and_one_without_the_form_are_refused(log_in, served):
    page = log_in("/tenants/alder/trial")
    url = f"{served.url}/tenants/alder/trial/pin"
    assert page.request.post(url).status == 403
    page.goto(url)
    token = page.locator("main [name=form_token]").input_value()
    stale = page.request.post(url, form={"form_token": token, "situation": "7//canary"})
    assert stale.status == 409
    assert "moved meanwhile" in stale.text()
    assert page.request.get(f"{served.url}/tenants/alder/trial/resume").status == 409
    assert page.request.get(f"{served.url}/tenants/alder/trial/burn").status == 400
    assert not read_state(served.sources.database, "alder").pinned


def test_a_tenants_and_a_viewers_key_read_the_trial_and_move_nothing(log_in, served):
    keys = {"birch": served.keys.create("birch")[1], "alder": served.keys.create(None, role="viewer")[1]}
    for tenant, key in keys.items():
        page = log_in(f"/tenants/{tenant}/trial", key)
        assert "needs a login as operator" in page.locator("main").inner_text()
        assert page.locator("a.button").count() == 0
        token = page.locator("[name=form_token]").first.input_value()
        for other in keys:
            form = {"form_token": token, "situation": "1//"}
            assert page.request.post(f"{served.url}/tenants/{other}/trial/pin", form=form).status == 403
        body = {"version": "1", "kind": "text", "text": "a"}
        asked = page.request.post(f"{served.url}/tenants/{tenant}/try", data=body, headers={"x-form-token": token})
        assert asked.status == (403 if tenant == "alder" else 409), "a viewer may not ask; here is no server to ask"
        status = page.request.get(f"{served.url}/tenants/alder/trial").status
        assert status == (200 if tenant == "alder" else 404)
        page.context.clear_cookies()


def test_an_operator_is_offered_moves(log_in, served):
    page = log_in("/tenants/alder/trial", served.keys.create(None, "eve", role="operator")[1])
    follow(page, "text=Pin…")
    assert "as a move by eve" in page.locator("main").inner_text()


def test_without_a_key_nothing_is_offered_as_a_button(console, open_page):
    page = open_page(f"{console.url}/tenants/alder/trial")
    assert page.locator("a.button").count() == 0
    assert "needs a login" in page.locator("main").inner_text()
