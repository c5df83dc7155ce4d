"""What a proxy is told about keys, sessions and tokens: 204 with who it is, 401 or 403."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from oidc_provider import AUDIENCE, Provider, run_provider

from components.access.api_keys import ApiKeys
from components.config.console import ConsoleConfig
from components.config.oidc import OidcConfig
from components.console.app import build_console
from components.console.sources import open_sources

ROLES = ("viewer", "operator", "admin")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Any]:
    """A browser without a session, at a console without a workspace, and its keys."""
    folder: Path = tmp_path_factory.mktemp("checked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("PREFIXFLEET_DATABASE", f"sqlite:///{folder}/prefixfleet.db")
        sources = open_sources(folder, ConsoleConfig(), None)
        oidc = OidcConfig(issuer=provider.url, audience=AUDIENCE, roles={"operator": ["ops"]}, tenant_claim="tenant")
        app = FastAPI()
        app.mount("/console", build_console(sources, ConsoleConfig(cookie_path="/"), oidc))
        yield app, ApiKeys(sources.database, time.time)
        sources.database.close()


@pytest.fixture
def client(keyed: Any) -> TestClient:
    return TestClient(keyed[0], base_url="http://fleet.example", follow_redirects=False)


def check(client: TestClient, role: str = "viewer", **headers: str) -> Any:
    return client.get("/console/access", params={"role": role}, headers=headers)


def basic(name: str, text: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{text}'.encode()).decode()}"


def test_a_key_passes_up_to_its_role_as_bearer_and_as_password(client: TestClient, keyed: Any) -> None:
    for rank, role in enumerate(ROLES):
        text = keyed[1].create(None, "night ☾", role=role)[1]
        for header in (f"Bearer {text}", basic("fleet", text), basic("", text)):
            statuses = [check(client, wanted, authorization=header).status_code for wanted in ROLES]
            assert statuses == [204 if wanted <= rank else 403 for wanted in range(3)], (role, header)
        passed = check(client, authorization=f"Bearer {text}")
        assert passed.headers["x-prefixfleet-role"] == role
        assert passed.headers["x-prefixfleet-user"].startswith("night %E2%98%BE (key ")
        assert passed.content == b""


def test_a_tenants_key_and_a_tenants_token_pass_nowhere(client: TestClient, keyed: Any, provider: Provider) -> None:
    for text in (keyed[1].create("alder")[1], provider.make_token(tenant="alder")):
        assert check(client, authorization=f"Bearer {text}").status_code == 403


def test_without_valid_credentials_it_is_401(client: TestClient, keyed: Any, provider: Provider) -> None:
    key, text = keyed[1].create(None)
    keyed[1].revoke(key.id)
    for header in (
        f"Bearer {text}",
        "Bearer",
        "Basic %%%",
        basic("fleet", "pf-1-2"),
        "Digest x",
        "Bearer a.b.c",
        f"Bearer {provider.make_token(groups=['ops'], exp=1)}",
    ):
        assert check(client, authorization=header).status_code == 401, header
    assert check(client).status_code == 401
    assert check(client, "boss", authorization=f"Bearer {keyed[1].create(None)[1]}").status_code == 400


def test_a_token_passes_by_its_role_and_403_says_what_is_missing(client: TestClient, provider: Provider) -> None:
    token = provider.make_token(groups=["ops"], email="ada@example.com")
    assert check(client, "operator", authorization=f"Bearer {token}").headers["x-prefixfleet-role"] == "operator"
    assert (
        check(client, authorization=basic("any", token)).headers["x-prefixfleet-user"] == "ada@example.com (oidc p-1)"
    )
    for refused in (
        check(client, "admin", authorization=f"Bearer {token}"),
        check(client, authorization=basic("", provider.make_token())),
    ):
        assert refused.status_code == 403
        assert "ask your operator" in refused.text


def test_the_consoles_session_passes_from_pages_of_the_same_host_alone(client: TestClient, keyed: Any) -> None:
    text = keyed[1].create(None, "ada")[1]
    page = client.get("/console/login?next=/mlflow/").text
    token = page.partition('name="form_token" value="')[2].partition('"')[0]
    answer = client.post("/console/login", data={"form_token": token, "key": text, "next": "/mlflow/"})
    assert answer.headers["location"] == "/mlflow/"
    assert "path=/;" in answer.headers["set-cookie"].lower()
    assert check(client, "admin").status_code == 204
    assert check(client, "admin", origin="http://fleet.example").status_code == 204
    for origin in ("http://evil.example", "null", "http://fleet.example.evil.example", "http://fleet.example:81"):
        assert check(client, "admin", origin=origin).status_code == 403, origin
    assert check(client, authorization="Bearer wrong").status_code == 401  # what is sent counts, not the cookie
