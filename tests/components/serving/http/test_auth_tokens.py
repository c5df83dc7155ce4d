"""Tokens of an identity provider at the API: four roles, tenant isolation, and what else is refused."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from oidc_provider import AUDIENCE, Provider, run_provider

from components.access.api_keys import ApiKeys
from components.serving.http.server import needs_credentials

PROMPT = {"model": "alder", "prompt": "thing: boat"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture
def ask_with_tokens(ask: Any, fleet: Any, provider: Provider) -> Any:
    """As `ask`, on a server that accepts the provider's tokens."""
    roles = {"admin": ["boss"], "operator": ["ops"], "viewer": ["look"]}
    oidc = {"issuer": provider.url, "audience": AUDIENCE, "roles": roles, "tenant_claim": "tenant"}
    fleet.set_params(oidc=oidc)
    return lambda talk: ask(talk, is_open=False)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_a_token_may_do_what_a_key_of_its_role_may(ask_with_tokens: Any, fleet: Any, provider: Provider) -> None:
    fleet.registry.register("birch", 5, "champion")
    claims: dict[str, dict[str, Any]] = {
        "admin": {"groups": ["boss"]},
        "operator": {"groups": ["ops"]},
        "viewer": {"groups": ["look"]},
        "tenant": {"tenant": "alder"},
    }

    async def talk(client: Any, _service: Any) -> dict[str, list[int]]:
        found = {}
        for role, own in claims.items():
            header = bearer(provider.make_token(**own))
            answers = [
                await client.post("/v1/completions", json=PROMPT, headers=header),
                await client.post("/v1/completions", json={**PROMPT, "model": "birch"}, headers=header),
                await client.get("/v1/files", headers=header),
                await client.get("/metrics", headers=header),
                await client.post("/admin/refresh", headers=header),
            ]
            found[role] = [answer.status_code for answer in answers]
        return found

    assert ask_with_tokens(talk) == {
        "admin": [200, 200, 200, 200, 200],
        "operator": [200, 200, 403, 200, 200],
        "viewer": [403, 403, 403, 200, 403],
        "tenant": [200, 404, 200, 403, 403],
    }


def test_with_a_provider_no_request_is_anonymous(fleet: Any, database: Any, provider: Provider) -> None:
    roles = {"roles": {"admin": ["boss"]}}
    for oidc, is_closed in (
        (None, False),
        ({"issuer": provider.url, "client_id": "console", **roles}, True),
        ({"issuer": provider.url, "audience": AUDIENCE, **roles}, True),
    ):
        fleet.set_params(oidc=oidc)
        assert needs_credentials(fleet.params, database) is is_closed
    ApiKeys(database, time.time).create("alder")
    fleet.set_params()
    assert needs_credentials(fleet.params, database)


def test_a_tenants_token_sees_no_other_tenant(ask_with_tokens: Any, fleet: Any, provider: Provider) -> None:
    fleet.registry.register("birch", 5, "champion")

    async def talk(client: Any, _service: Any) -> Any:
        own, other = bearer(provider.make_token(tenant="alder")), bearer(provider.make_token(tenant="birch", sub="p-2"))
        listed = (await client.get("/v1/models", headers=own)).json()["data"]
        foreign = [await client.get(f"/v1/models/{name}", headers=own) for name in ("birch", "nobody")]
        name = (await client.post("/v1/completions", json=PROMPT, headers=own)).json()["id"]
        rated = [
            (await client.post("/v1/feedback", json={"id": name, "rating": 1}, headers=header)).status_code
            for header in (other, own)
        ]
        return [one["id"] for one in listed], foreign, rated

    listed, foreign, rated = ask_with_tokens(talk)
    assert listed == ["alder"]
    assert {one.status_code for one in foreign} == {404}
    assert foreign[0].text == foreign[1].text
    assert rated == [404, 200]


def test_a_token_without_a_role_a_false_one_and_none_at_all(ask_with_tokens: Any, provider: Provider) -> None:
    async def talk(client: Any, service: Any) -> Any:
        key = service.keys.create("alder")[1]
        headers = [
            bearer(provider.make_token(groups=["others"])),
            bearer(provider.make_token(groups=["boss"], aud="console")),
            bearer("a.b.c"),
            {},
            bearer(key),
        ]
        return [await client.get("/v1/models", headers=header) for header in headers]

    unmapped, foreign, broken, missing, keyed = ask_with_tokens(talk)
    assert unmapped.status_code == 403
    assert "ask your operator to assign you a role" in unmapped.json()["error"]["message"]
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (401, "invalid_token")
    assert foreign.headers["www-authenticate"] == "Bearer"
    assert broken.status_code == missing.status_code == 401
    assert "or a token of your identity provider" in missing.json()["error"]["message"]
    assert keyed.status_code == 200


def test_while_the_provider_is_down_keys_work_and_health_names_the_trouble(
    ask_with_tokens: Any, provider: Provider
) -> None:
    async def talk(client: Any, service: Any) -> Any:
        key, token = service.keys.create("alder")[1], provider.make_token(tenant="alder")
        provider.is_down = True
        answers = [await client.get("/v1/models", headers=bearer(text)) for text in (token, key)]
        return [*answers, await client.get("/healthz"), await client.get("/metrics", headers=bearer(key))]

    try:
        token, key, health, _ = ask_with_tokens(talk)
    finally:
        provider.is_down = False
    assert (token.status_code, token.headers["retry-after"]) == (503, "1")
    assert provider.url not in token.text
    assert key.status_code == 200
    assert health.json()["troubles"] == ["identity"]
