"""A login at a real provider over HTTP: the way there and back, every answer that is refused, roles, and the logout."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from oidc_provider import CLIENT, SECRET, Provider, run_provider
from served_console import serve_console_in_thread

from components.access.oidc.login import SECRET_VARIABLE
from components.config.console import ConsoleConfig
from components.config.oidc import OidcConfig
from components.console.app import build_console
from components.console.sources import Sources, open_sources

SESSION, LOGIN = "prefixfleet_console", "prefixfleet_login"
CALLBACK = "/console/login/oidc/callback"


class Timer:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder without a workspace: the console reads an empty MLflow and an empty database in it."""
    folder = tmp_path_factory.mktemp("sign-on")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("PREFIXFLEET_DATABASE", f"sqlite:///{folder}/prefixfleet.db")
        yield folder


@pytest.fixture(scope="module")
def sources(root: Path) -> Iterator[Sources]:
    opened = open_sources(root, ConsoleConfig(), None)
    yield opened
    opened.database.close()


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture
def provider(running_provider: Provider) -> Provider:
    """The provider, right in all it says, with an admin at its login."""
    fresh = Provider(running_provider.url)
    running_provider.__dict__.update({**fresh.__dict__, "keys": running_provider.keys})
    return running_provider


def make_config(provider: Provider, **values: Any) -> OidcConfig:
    roles = {"admin": ["fleet-admins"], "operator": ["fleet-operators"], "viewer": ["fleet-viewers"]}
    tenant = {"tenant_claim": "groups", "tenant_pattern": "fleet-tenant-*"}
    return OidcConfig(**{"issuer": provider.url, "client_id": CLIENT, "roles": roles, **tenant, **values})


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def open_console(
    sources: Sources, provider: Provider, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TestClient]:
    """A function of settings to a browser at a new console; `oidc` are values of that section."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)

    def make(oidc: Any = None, **settings: Any) -> TestClient:
        app = FastAPI()
        config = make_config(provider, **(oidc or {}))
        app.mount("/console", build_console(sources, ConsoleConfig(**settings), config, timer=timer))
        return TestClient(app, base_url="http://fleet.example", follow_redirects=False)

    return make


def leave(client: TestClient, page: str = "/console/nights") -> Any:
    """Go to the provider, log in there, and return the address to which it sends the browser."""
    answer = client.get("/console/login/oidc", params={"next": page})
    assert answer.status_code == 303, answer.text
    return httpx.get(answer.headers["location"]).headers["location"]


def log_in(client: TestClient, page: str = "/console/nights") -> Any:
    return client.get(leave(client, page))


def find_target(answer: Any) -> str:
    """Where the page leads."""
    return str(answer.text.partition('content="0;url=')[2].partition('"')[0])


def find_token(page: str) -> str:
    return page.partition('name="form_token" value="')[2].partition('"')[0]


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
