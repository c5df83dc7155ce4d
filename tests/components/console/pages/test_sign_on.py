"""A login at a real provider over HTTP: the way there and back, roles, the logout, and other providers."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oidc_provider import SECRET, Provider
from served_console import serve_console_in_thread
from sign_on import CALLBACK, LOGIN, SESSION, Timer, find_target, find_token, log_in, make_config

from components.access.oidc.login import SECRET_VARIABLE
from components.console.sources import Sources


def test_a_login_leads_to_the_page_that_was_wanted(open_console: Any, provider: Provider) -> None:
    client = open_console()
    first = client.get("/console/nights")
    assert first.headers["location"] == "/console/login?next=/console/nights"
    form = client.get(first.headers["location"])
    assert '/console/login/oidc?next=/console/nights"' in form.text
    before = client.cookies[SESSION]
    asked = client.get("/console/login/oidc?next=/console/nights%3Fpage%3D1")
    query = parse_qs(urlsplit(asked.headers["location"]).query)
    assert query["redirect_uri"] == [f"http://fleet.example{CALLBACK}"]
    cookie = asked.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/console/login/oidc" in cookie
    assert query["state"][0] not in cookie
    back = client.get(httpx.get(asked.headers["location"]).headers["location"])
    assert (back.status_code, find_target(back)) == (200, "/console/nights?page=1")
    assert "samesite=strict" in back.headers["set-cookie"].lower()
    assert client.cookies[SESSION] != before
    assert LOGIN not in client.cookies
    page = client.get("/console/nights")
    assert page.status_code == 200
    assert "ada@example.com (oidc p-1)" in page.text
    assert not any(secret in page.text + str(client.cookies) for secret in (SECRET, "eyJ"))


@pytest.mark.parametrize(
    ("groups", "shown"),
    [
        (["fleet-admins"], 200),
        (["fleet-operators"], 200),
        (["fleet-viewers"], 200),
        (["fleet-tenant-alder"], 404),
    ],
)
def test_each_role_sees_and_may_do_what_its_keys_may(
    open_console: Any, provider: Provider, groups: list[str], shown: int
) -> None:
    provider.person = {"sub": "p-2", "groups": groups}
    client = open_console()
    assert log_in(client).status_code == 200
    assert client.get("/console/nights").status_code == shown
    if shown == 404:
        assert client.get("/console/").headers["location"] == "/console/tenants/alder"
        assert client.get("/console/tenants/birch").status_code == 404
    token = find_token(client.get("/console/login").text)
    moved = client.post("/console/tenants/alder/trial/promote", data={"form_token": token})
    assert moved.status_code == (409 if groups[0] in ("fleet-admins", "fleet-operators") else 403)  # no workspace here


def test_a_logout_also_ends_the_session_at_the_provider(open_console: Any, provider: Provider) -> None:
    client = open_console()
    log_in(client)
    session, token = client.cookies[SESSION], find_token(client.get("/console/nights").text)
    answer = client.post("/console/logout", data={"form_token": token})
    url = find_target(answer).replace("&amp;", "&")
    query = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{provider.url}/end_session?")
    assert query["post_logout_redirect_uri"] == ["http://fleet.example/console/login"]
    assert query["id_token_hint"][0].startswith("eyJ")
    assert SESSION not in client.cookies
    assert client.get("/console/nights", headers={"cookie": f"{SESSION}={session}"}).status_code == 303


def test_claims_that_only_the_userinfo_has_and_a_public_client(
    open_console: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.userinfo_only = {"groups", "email"}
    client = open_console()
    assert log_in(client).status_code == 200
    assert "ada@example.com" in client.get("/console/nights").text
    provider.is_public = True
    assert "invalid_client" in log_in(open_console()).text
    monkeypatch.delenv(SECRET_VARIABLE)
    assert log_in(open_console()).status_code == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in its use of authlib
def test_a_provider_that_others_have_written(open_console: Any) -> None:
    import oidc_provider_mock

    with oidc_provider_mock.run_server_in_thread() as server:
        issuer = f"http://localhost:{server.server_port}"
        claims = {"email": "eve@example.com", "groups": ["fleet-viewers"]}
        assert httpx.put(f"{issuer}/users/p-7", json=claims).status_code == 204
        client = open_console({"issuer": issuer})
        form = client.get("/console/login/oidc?next=/console/nights").headers["location"]
        back = httpx.post(form, data={"sub": "p-7"}).headers["location"]
        assert find_target(client.get(back)) == "/console/nights"
        page = client.get("/console/nights").text
        assert "eve@example.com (oidc p-7)" in page
        left = client.post("/console/logout", data={"form_token": find_token(page)})
        assert find_target(left).startswith(f"{issuer}/oauth2/end_session?")


def test_while_the_provider_is_down_keys_still_open_the_console(
    open_console: Any, provider: Provider, sources: Sources
) -> None:
    from components.access.api_keys import ApiKeys

    provider.is_down = True
    client = open_console()
    answer = client.get("/console/login/oidc")
    assert answer.status_code == 503
    assert "answer of the identity provider" in answer.text
    key = ApiKeys(sources.database, Timer()).create(None, "ada")[1]
    logged_in = client.post("/console/login", data={"form_token": find_token(answer.text), "key": key})
    assert logged_in.headers["location"] == "/console/"
    assert client.get("/console/nights").status_code == 200


def test_behind_a_proxy_the_address_of_the_settings_counts(open_console: Any) -> None:
    client = open_console(url="https://fleet.example/console", cookie_path="/")
    answer = client.get("/console/login/oidc", headers={"host": "10.0.0.7:8400"})
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["redirect_uri"] == [f"https://fleet.example{CALLBACK}"]
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.slow
def test_a_person_logs_in_and_out_in_a_browser(
    root: Path, provider: Provider, open_page: Any, check_look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider is another site than the console, so this also shows that strict cookies come along."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with serve_console_in_thread(root, make_config(provider)) as console:
        page = open_page(f"{console.url}/nights")
        check_look(page, "login-with-provider")
        page.click("text=Log in at your identity provider")
        page.wait_for_url(f"{console.url}/nights")
        assert "ada@example.com" in page.inner_text("header")
        check_look(page, "logged-in-by-provider")
        page.click("text=Log out")
        page.wait_for_url(f"{console.url}/login")
        assert len(provider.ended) == 1
        page.goto(f"{console.url}/nights")
        assert page.url.startswith(f"{console.url}/login?next=")
