"""Who sees what: no key, a wrong key, a tenant's key, an admin's; forms of other pages; headers; errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from waiting import LIMIT_S, wait_until

from components.access.api_keys import ApiKeys
from components.config.console import ConsoleConfig
from components.console.app import build_console
from components.console.sources import load_params_or_none, open_sources
from components.errors import WorkspaceError

COOKIE = "prefixfleet_console"


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def timer() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def keyed(make_fleet_root: Any, tmp_path_factory: pytest.TempPathFactory, timer: Clock) -> Iterator[Any]:
    """The application on a workspace with keys, and the keys."""
    root: Path = make_fleet_root(tmp_path_factory.mktemp("keyed"))
    sources = open_sources(root, ConsoleConfig(), load_params_or_none(root))
    app = FastAPI()
    app.mount("/console", build_console(sources, ConsoleConfig(), clock=timer, timer=timer))
    keys = ApiKeys(sources.database, timer)
    keys.create("birch")
    yield app, keys
    sources.database.close()


@pytest.fixture
def client(keyed: Any) -> TestClient:
    return TestClient(keyed[0], base_url="http://localhost", follow_redirects=False)


def find_token(page: str) -> str:
    return page.partition('name="form_token" value="')[2].partition('"')[0]


def log_in(client: TestClient, key: str, next_: str = "") -> Any:
    token = find_token(client.get("/console/login").text)
    return client.post("/console/login", data={"form_token": token, "key": key, "next": next_})


def test_without_a_login_every_page_leads_to_the_form_and_back(client: TestClient) -> None:
    answer = client.get("/console/?state=refused")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=/console/%3Fstate%3Drefused")
    part = client.get("/console/", headers={"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"][:14]) == (401, "/console/login")
    assert client.get("/console/events").status_code == 303


def test_a_wrong_key_opens_nothing(client: TestClient, keyed: Any) -> None:
    answer = log_in(client, "pf-0000-nothing")
    assert answer.status_code == 401
    assert "unknown, expired or revoked" in answer.text
    assert client.get("/console/").status_code == 303
    key, text = keyed[1].create(None)
    keyed[1].revoke(key.id)
    assert log_in(client, text).status_code == 401


def test_an_admins_key_opens_the_fleet_with_a_cookie_that_does_not_hold_it(
    client: TestClient, keyed: Any, timer: Clock
) -> None:
    key, text = keyed[1].create(None, "ada")
    before = client.get("/console/login").cookies[COOKIE]
    answer = log_in(client, text, "/console/?state=refused")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/?state=refused")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/console" in cookie
    assert client.cookies[COOKIE] not in (before, "")
    assert text.split("-", 2)[2] not in client.cookies[COOKIE]
    page = client.get("/console/")
    assert f"ada (key {key.id})" in page.text
    keyed[1].revoke(key.id)
    timer.now_s += 3  # a key that was read is trusted for two seconds
    assert client.get("/console/").status_code == 303


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "/console/\\evil", "/other"])
def test_a_login_leads_to_the_consoles_own_pages_only(client: TestClient, keyed: Any, wanted: str) -> None:
    assert log_in(client, keyed[1].create(None)[1], wanted).headers["location"] == "/console/"


def test_a_tenants_key_sees_its_tenant_alone(client: TestClient, keyed: Any) -> None:
    log_in(client, keyed[1].create("birch")[1])
    assert client.get("/console/").headers["location"] == "/console/tenants/birch"
    for path in ("/console/events", "/console/tenants/alder", "/console/tenants/nobody"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "alder" not in answer.text.replace("/console/tenants/alder", "")
        assert "cedar" not in answer.text


def test_a_session_ends_after_its_hours_and_at_the_logout(client: TestClient, keyed: Any, timer: Clock) -> None:
    text = keyed[1].create(None)[1]
    log_in(client, text)
    timer.now_s += 13 * 3600
    assert client.get("/console/").status_code == 303
    log_in(client, text)
    token = find_token(client.get("/console/").text)
    session = client.cookies[COOKIE]
    assert client.post("/console/logout", data={"form_token": token}).status_code == 303
    assert client.get("/console/", headers={"cookie": f"{COOKIE}={session}"}).status_code == 303


def test_forms_of_other_pages_are_refused(client: TestClient, keyed: Any) -> None:
    log_in(client, keyed[1].create(None)[1])
    token = find_token(client.get("/console/").text)
    assert client.post("/console/logout").status_code == 403
    assert client.post("/console/logout", data={"form_token": "0" * 64}).status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert client.post("/console/logout", data={"form_token": token}, headers=foreign).status_code == 403
    other = TestClient(client.app, base_url="http://localhost", follow_redirects=False)
    assert other.post("/console/logout", data={"form_token": token}).status_code == 403
    assert client.get("/console/").status_code == 200


def test_every_answer_forbids_inline_scripts_and_framing(client: TestClient) -> None:
    for path in ("/console/login", "/console/nothing", "/console/static/console.css"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/console/login").headers["cache-control"] == "no-store"
    assert "immutable" in client.get("/console/static/console.css").headers["cache-control"]


def test_an_unknown_page_and_a_wrong_value_say_what_to_do(client: TestClient, keyed: Any) -> None:
    log_in(client, keyed[1].create(None)[1])
    answer = client.get("/console/nothing")
    assert (answer.status_code, "start page" in answer.text) == (404, True)
    for query in ("size=7", "state=odd", "sort=odd", "page=x"):
        answer = client.get(f"/console/?{query}")
        assert answer.status_code == 400, query
        assert "use the page" in answer.text


def test_without_keys_only_this_machine_may_read(console: Any) -> None:
    app = FastAPI()
    app.mount("/console", build_console(console.sources, ConsoleConfig()))
    assert TestClient(app, base_url="http://localhost:8400").get("/console/").status_code == 200
    assert TestClient(app, base_url="http://evil.example").get("/console/").status_code == 403


def test_without_a_workspace_the_fleet_comes_from_mlflow_and_the_ledger(
    fleet_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{fleet_root}/var/mlflow/mlflow.db")
    monkeypatch.setenv("PREFIXFLEET_DATABASE", f"sqlite:///{fleet_root}/var/prefixfleet.db")
    assert load_params_or_none(tmp_path) is None
    sources = open_sources(tmp_path, ConsoleConfig(), None)
    app = FastAPI()
    app.mount("/console", build_console(sources, ConsoleConfig()))
    client = TestClient(app, base_url="http://localhost")
    page = wait_until(lambda: text if "fleet-table" in (text := client.get("/console/").text) else "", "the fleet")
    assert page.count('<tr>\n<th scope="row">') == 3
    assert "below its floor" in page
    assert client.get("/console/tenants/alder").status_code == 200
    assert "no workspace" in client.get("/console/tenants/alder/data").text
    sources.database.close()


def test_a_folder_without_anything_to_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(WorkspaceError, match=r"params\.yaml"):
        load_params_or_none(tmp_path)


def test_after_a_form_the_fleet_is_read_again(client: TestClient, keyed: Any) -> None:
    board = keyed[0].routes[-1].app.state.console.board
    before = board.get(LIMIT_S).number
    log_in(client, keyed[1].create(None)[1])
    wait_until(lambda: board.get().number > before, "a newer snapshot")
