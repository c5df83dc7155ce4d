"""Answers of a provider, and pages to go to, that a login refuses; a login that gives no session."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from oidc_provider import CLIENT, Provider
from sign_on import CALLBACK, LOGIN, Timer, find_target, leave, log_in


def test_who_has_no_role_gets_a_sentence_and_no_session(open_console: Any, provider: Provider) -> None:
    client = open_console()
    for groups in ([], ["others"], ["fleet-tenant-a", "fleet-tenant-b"]):
        provider.person = {"sub": "p-3", "groups": groups}
        answer = log_in(client)
        assert answer.status_code == 403
        assert "ask your operator to assign you a role" in answer.text
        assert client.get("/console/nights").status_code == 303


def test_an_answer_to_another_login_or_a_late_one_is_refused(open_console: Any, timer: Timer) -> None:
    client, other = open_console(), open_console()
    back = leave(client)
    stolen = leave(other)
    assert client.get(stolen).status_code == 401  # somebody else's answer, whose page was opened here
    assert client.get(back.replace("state=", "state=x")).status_code == 401
    assert client.get(back.partition("&state")[0]).status_code == 401
    bare = TestClient(client.app, base_url="http://fleet.example", follow_redirects=False)
    assert "another one" in bare.get(back).text
    cookie = client.cookies[LOGIN]
    altered = f"{cookie.partition('.')[0]}.{cookie.split('.')[1]}.aHR0cHM6Ly9ldmls"
    for other_cookie in (altered, f"a.{'9' * 5000}.b", "a.1e9.b", "a.b", "a.9999999999.%"):
        assert bare.get(back, headers={"cookie": f"{LOGIN}={other_cookie}"}).status_code == 401
    late = leave(client)
    timer.now_s += 601
    assert client.get(late).status_code == 401
    assert client.get("/console/nights").status_code == 303


def test_a_code_is_good_for_one_login(open_console: Any) -> None:
    client = open_console()
    back = leave(client)
    cookie = {"cookie": f"{LOGIN}={client.cookies[LOGIN]}"}
    assert client.get(back).status_code == 200
    again = client.get(back, headers=cookie)
    assert again.status_code == 401
    assert "invalid_grant" in again.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nonce": "another"}, "one of another login"),
        ({"nonce": None}, "one of another login"),
        ({"aud": "other-client"}, "another audience"),
        ({"aud": [CLIENT, "other"], "azp": "other"}, "another client"),
        ({"aud": [CLIENT, "other"]}, "another client"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"exp": 1_000_000_000}, "expired"),
    ],
)
def test_an_id_token_that_is_not_for_this_login_is_refused(
    open_console: Any, provider: Provider, changes: dict[str, Any], words: str
) -> None:
    provider.changes = changes
    client = open_console()
    answer = log_in(client)
    assert answer.status_code == 401
    assert words in answer.text
    assert client.get("/console/nights").status_code == 303


def test_what_the_provider_says_instead_of_a_code_is_shown_as_text(open_console: Any, provider: Provider) -> None:
    client = open_console()
    state = parse_qs(urlsplit(leave(client)).query)["state"][0]
    denied = {"state": state, "error": "access_denied", "error_description": "<script>alert(1)</script>"}
    answer = client.get(CALLBACK, params=denied)
    assert answer.status_code == 401
    assert "access_denied &lt;script&gt;" in answer.text
    assert client.get(CALLBACK, params={"state": state}).status_code == 401
    provider.says_issuer = "https://evil.example"
    assert "another issuer" in log_in(client).text
    provider.says_issuer = provider.url
    assert log_in(client).status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        "https://evil.example/",
        "//evil.example/",
        "/console/\\evil",
        "/\t/evil.example",
        "/other",
        "javascript:alert(1)",
        "",
        "/console/" + "x" * 2000 + "\n",
    ],
)
def test_a_login_leads_to_no_other_site(open_console: Any, page: str) -> None:
    target = find_target(log_in(open_console(), page))
    assert target.startswith("/console/")
    assert "evil" not in target
    if len(page) < 100:  # the session is also for the paths beside the console
        whole_host = find_target(log_in(open_console(cookie_path="/"), page))
        assert whole_host == ("/other" if page == "/other" else "/console/")


def test_with_a_provider_nobody_reads_without_a_login_and_forms_stay_protected(open_console: Any) -> None:
    client = open_console()
    assert client.get("/console/nights", headers={"host": "localhost"}).status_code == 303
    log_in(client)
    assert client.post("/console/logout").status_code == 403
    assert client.get("/console/nights").status_code == 200
    assert client.get("/console/login/oidc/callback").status_code == 401
    assert client.get("/console/nights").status_code == 200
