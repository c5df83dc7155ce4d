"""The playground against a real server: several versions streamed side by side, with log probabilities and commands."""

import pytest
from playwright.sync_api import expect
from served_console import serve_console_in_thread


@pytest.mark.slow
def test_versions_answer_side_by_side(make_fleet_root, tmp_path, start_server, open_page, check_look):
    root = make_fleet_root(tmp_path)
    server = start_server(root)
    with serve_console_in_thread(root, server=server.url) as served:
        page = open_page(f"{served.url}/tenants/alder/try")
        assert page.locator("[name=version]:checked").count() == 2
        page.check("[name=version][value=base]")
        page.fill("#text", "thing: boat | colour: red | number: 1")
        page.fill("#max_tokens", "4")
        page.fill("#temperature", "1.5")
        page.fill("#seed", "3")
        page.locator("#guidance").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#guidance-value").inner_text() == "1.1"
        page.click("text=Answer")
        answers = page.locator(".answer")
        expect(page.locator(".answer dl", has_text="whole answer after")).to_have_count(3, timeout=60_000)
        assert "x-prefixfleet-version" in answers.first.inner_text()
        first = answers.first.locator(".token").first
        first.focus()
        assert "log probability" in answers.first.locator(".token-facts").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.previousElementSibling.matches('.token')")
        assert "guidance" in answers.first.locator("pre").first.text_content()
        for name, width, dark in (("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if dark else "light")
            check_look(page, f"try-{name}")
        page.fill("#text", "not a record")
        page.check("[name=kind][value=record]")
        page.click("text=Answer")
        page.wait_for_selector(".answer .trouble")
        assert "a record as JSON" in page.locator(".answer .trouble").first.inner_text()


def test_without_a_server_the_page_says_what_to_do(console, open_page, find_barriers):
    page = open_page(f"{console.url}/tenants/alder/try")
    assert "prefixfleet serve" in page.locator("main").inner_text()
    assert find_barriers(page) == []


def test_a_request_without_the_pages_token_is_refused(console, open_page):
    page = open_page(f"{console.url}/tenants/alder/try")
    answer = page.request.post(f"{console.url}/tenants/alder/try", data={"version": "1", "kind": "text", "text": "a"})
    assert answer.status == 403
