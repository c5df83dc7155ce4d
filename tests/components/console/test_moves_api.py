"""People of a real provider move a tenant, in the console and by tokens at its API; the ledger names them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from oidc_provider import AUDIENCE, CLIENT, SECRET, Provider, run_provider
from processes import PREFIXFLEET, run_in
from served_console import ServedConsole, serve_console_in_thread

from components.access.oidc.login import SECRET_VARIABLE
from components.config.oidc import OidcConfig
from components.rollout.store.ledger import read_history

NAMES = ("form_token", "situation")
"""Hidden fields of a move's form."""
GRACE = {"sub": "p-9", "email": "grace@example.com", "groups": ["ops"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture(scope="module")
def root(make_fleet_root: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = make_fleet_root(tmp_path_factory.mktemp("moves"))
    return folder


@pytest.fixture(scope="module")
def served(root: Path, provider: Provider) -> Iterator[ServedConsole]:
    roles = {"operator": ["ops"], "viewer": ["look"]}
    oidc = OidcConfig(issuer=provider.url, client_id=CLIENT, audience=AUDIENCE, roles=roles, tenant_claim="tenant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET_VARIABLE, SECRET)
        with serve_console_in_thread(root, oidc) as console:
            yield console


@pytest.fixture
def ask(served: ServedConsole) -> Any:
    """A function of a tenant, a key or token, and perhaps a move to the API's answer."""

    def send(tenant: str, text: str, body: Any = None) -> httpx.Response:
        url, headers = f"{served.url}/api/tenants/{tenant}/moves", {"authorization": f"Bearer {text}"} if text else {}
        return httpx.post(url, json=body, headers=headers) if body else httpx.get(url, headers=headers)

    return send


def test_moves_of_people_who_logged_in_at_the_provider_stand_in_the_ledger(
    ask: Any, root: Path, served: ServedConsole, provider: Provider
) -> None:
    provider.person = {"sub": "p-1", "email": "ada@example.com", "groups": ["ops"]}
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(f"{served.url}/login/oidc").status_code == 200
        trial = f"{served.url}/tenants/alder/trial"
        form = browser.get(f"{trial}/pause").text
        fields = {name: form.partition(f'name="{name}" value="')[2].partition('"')[0] for name in NAMES}
        assert browser.post(f"{trial}/pause", data=fields).status_code == 200
        assert "by ada@example.com (oidc p-1), console from 127.0.0.1" in browser.get(trial).text
    token = provider.make_token(**GRACE)
    offered = ask("alder", token).json()
    assert (offered["champion"], offered["challenger"]) == ("1", "2")
    assert [one["move"] for one in offered["moves"]] == ["promote", "rollback", "resume", "pin"]
    done = [
        ask("alder", token, {"move": move, "situation": offered["situation"]} if move == "resume" else {"move": move})
        for move in ("resume", "promote", "rollback")
    ]
    assert [one.json()["done"] for one in done] == [
        "The trial is resumed.",
        "Version 2 is champion.",
        "Version 2 was rolled back; version 1 is champion.",
    ]
    assert {one.json()["by"] for one in done} == {"grace@example.com (oidc p-9)"}
    assert served.sources.registry.find_aliases("alder") == {"champion": "1"}
    history = [(one.action, one.by, one.origin) for one in read_history(served.sources.database, "alder")[-4:]]
    by_token = ("grace@example.com (oidc p-9)", "console's API from 127.0.0.1")
    assert history == [
        ("pause", "ada@example.com (oidc p-1)", "console from 127.0.0.1"),
        ("resume", *by_token),
        ("promote", *by_token),
        ("rollback", *by_token),
    ]
    shown = run_in(root, PREFIXFLEET, "history", "alder").stdout
    assert "grace@example.com (oidc p-9)" in shown
    assert "ada@example.com (oidc p-1)" in shown
    stale = ask("alder", token, {"move": "pin", "situation": offered["situation"]})
    assert stale.status_code == 409
    assert "moved meanwhile" in stale.json()["error"]["message"]
    again = ask("alder", token, {"move": "pause"})
    assert again.status_code == 409
    assert "a trial of alder to pause" in again.json()["error"]["message"]
    assert ask("alder", served.keys.create(None, "night", role="operator")[1], {"move": "pin"}).status_code == 200
    (last,) = read_history(served.sources.database, "alder")[-1:]
    assert (last.action, last.by.partition(" (")[0]) == ("pin", "night")


def test_who_may_not_move_a_tenant_is_refused_with_the_reason(
    ask: Any, served: ServedConsole, provider: Provider
) -> None:
    before = read_history(served.sources.database)
    operator, viewer, tenant, nobody, late = (
        provider.make_token(**claims)
        for claims in (
            {"groups": ["ops"]},
            {"groups": ["look"]},
            {"tenant": "birch"},
            {},
            {"groups": ["ops"], "exp": 1},
        )
    )
    assert ask("birch", viewer).status_code == ask("birch", tenant).status_code == 200
    pin = {"move": "pin"}
    for text, name, body, status, words in (
        (viewer, "birch", pin, 403, "the role viewer"),
        (tenant, "birch", pin, 403, "the role tenant"),
        (tenant, "alder", None, 404, "a tenant of this fleet"),
        (operator, "oak", pin, 404, "a tenant with versions"),
        (operator, "Oak", pin, 404, "a tenant of this fleet"),
        (nobody, "birch", pin, 403, "ask your operator to assign you a role"),
        (late, "birch", pin, 401, "an expired one"),
        ("pf-1-2", "birch", pin, 401, "an unknown, expired or revoked key"),
        ("", "birch", pin, 401, "got none"),
        (operator, "birch", {"move": "burn"}, 400, "move: Input should be 'promote'"),
        (operator, "birch", {"move": "pin", "to": "7"}, 400, "to: Extra inputs"),
        (operator, "birch", {"move": "pin", "situation": "x" * 2_000_000}, 413, "at most 1 MB"),
    ):
        refused = ask(name, text, body)
        assert refused.status_code == status, refused.text
        assert words in refused.json()["error"]["message"]
        assert ("www-authenticate" in refused.headers) == (status == 401)
    url = f"{served.url}/api/tenants/birch"
    assert httpx.get(url).json()["error"]["message"].startswith("wanted a path of the console's API; got GET ")
    assert httpx.put(f"{url}/moves").status_code == 405
    with httpx.Client(follow_redirects=True) as browser:  # a session's cookie opens the pages alone
        provider.person = GRACE
        browser.get(f"{served.url}/login/oidc")
        assert browser.post(f"{url}/moves", json=pin).status_code == 401
    assert read_history(served.sources.database) == before
