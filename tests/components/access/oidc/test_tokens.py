"""Tokens of a real provider over HTTP: which are accepted, and every way in which one may be false."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from oidc_provider import AUDIENCE, Provider, run_provider

from components.access.oidc.errors import IssuerError, PrefixFleetError, RoleError, TokenError
from components.access.oidc.identity import Identity
from components.access.oidc.tokens import open_bearer_tokens
from components.config.oidc import OidcConfig


class Clock:
    """Two clocks that a test sets."""

    def __init__(self) -> None:
        self.time_s, self.timer_s = time.time(), 1000.0


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


def make_config(provider: Provider, **values: Any) -> OidcConfig:
    roles = {"admin": ["fleet-admins"], "viewer": ["lookers"]}
    return OidcConfig(**{"issuer": provider.url, "audience": AUDIENCE, "roles": roles, **values})


@pytest.fixture
def identify(provider: Provider) -> Callable[..., list[Any]]:
    """A function of tokens to their identities, or the errors that they get, from one server's `BearerTokens`."""

    def run(*texts: str, clock: Clock | None = None, **values: Any) -> list[Any]:
        async def ask_all() -> list[Any]:
            own = clock or Clock()
            tokens = open_bearer_tokens(make_config(provider, **values), lambda: own.time_s, lambda: own.timer_s)
            return [await ask(tokens, text) for text in texts]

        return asyncio.run(ask_all())

    return run


async def ask(tokens: Any, text: str) -> Identity | PrefixFleetError:
    try:
        return await tokens.identify(text)  # type: ignore[no-any-return]
    except PrefixFleetError as problem:
        return problem


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def forge(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token without a signature."""
    return f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}."


def test_a_good_token_names_its_role_and_its_person(provider: Provider, identify: Any) -> None:
    shown = {"email": "ada@example.com", "groups": ["fleet-admins"]}
    by_group, by_list, silent = identify(
        provider.make_token(**shown), provider.make_token(**shown, aud=["x", AUDIENCE]), provider.make_token()
    )
    assert (by_group.role, by_group.tenant, by_group.name) == ("admin", None, "ada@example.com (oidc p-1)")
    assert by_list == by_group
    assert len(by_group.id) == 16
    assert isinstance(silent, RoleError)
    assert "a role in the claim groups" in str(silent)


def test_false_tokens_are_refused_and_the_message_says_why(provider: Provider, identify: Any) -> None:
    now, good = int(time.time()), {"groups": ["fleet-admins"]}
    other = rsa.generate_private_key(65537, 2048)
    public = provider.keys["first"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = {"iss": provider.url, "aud": AUDIENCE, "sub": "p-1", "exp": now + 300, **good}
    by_public_key = forge({"alg": "HS256", "kid": "first"}, own).removesuffix(".")
    by_public_key += f".{encode(hmac.digest(pem, by_public_key.encode(), 'sha256'))}"
    head, body, mark = provider.make_token(**good).split(".")
    tokens = {
        "an expired one": provider.make_token(**good, exp=now - 31),
        "one that is not valid yet": provider.make_token(**good, nbf=now + 120),
        "one for another audience": provider.make_token(**good, aud="console"),
        "one of another issuer": provider.make_token(**good, iss=f"{provider.url}/"),
        "one with a wrong signature": f"{head}.{body}.{mark[:-8]}{'A' * 8}",
        "one signed with an unknown key": provider.make_token({"name": "invented"}, **good),
        "one without exp, iss, aud or sub": provider.make_token(**good, exp=None),
    }
    not_accepted = [
        forge({"alg": "none", "typ": "JWT", "kid": "first"}, own),
        forge({"alg": "None", "kid": "first"}, own),
        by_public_key,
        provider.make_token({"algorithm": "RS384"}, **good),
        forge({"kid": "first"}, own),
    ]
    wrong_signature = [
        provider.make_token({"key": other, "name": "first"}, **good),
        f"{head}.{forge({}, {**own, 'sub': 'p-2'}).split('.')[1]}.{mark}",
        forge({"alg": "RS256", "kid": "first"}, own),
    ]
    for text, words in ((text, words) for words, text in tokens.items()):
        (problem,) = identify(text)
        assert isinstance(problem, TokenError), words
        assert problem.got == words
    for problem in identify(*not_accepted):
        assert problem.got == "one with a signature that is not accepted"
    for problem in identify(*wrong_signature):
        assert problem.got == "one with a wrong signature"
    for text in ("a.b.c", "..", f"{head}.{body}.", "é.b.c", "x" * 20_000 + ".b.c", provider.make_token(**good, sub=7)):
        (problem,) = identify(text)
        assert isinstance(problem, TokenError), text[:30]


def test_a_critical_header_that_is_not_known_is_refused(provider: Provider, identify: Any) -> None:
    claims = {"iss": provider.url, "aud": AUDIENCE, "sub": "p-1", "exp": int(time.time()) + 300}
    text = jwt.encode(claims, provider.keys["first"], "RS256", {"kid": "first", "crit": ["bork"], "bork": 1})
    assert isinstance(identify(text)[0], TokenError)


def test_the_clocks_may_differ_by_the_leeway_and_a_clock_set_back_revives_no_token(provider: Provider) -> None:
    now = int(time.time())

    async def talk() -> list[Any]:
        clock = Clock()
        tokens = open_bearer_tokens(make_config(provider), lambda: clock.time_s, lambda: clock.timer_s)
        text = provider.make_token(groups=["lookers"], exp=now - 20, nbf=now - 40)
        short = provider.make_token(groups=["lookers"], exp=now + 60)
        found = [await ask(tokens, text), await ask(tokens, short)]
        clock.timer_s += 91  # the time of day stands still
        return [*found, await ask(tokens, short)]

    in_leeway, before, after = asyncio.run(talk())
    assert (in_leeway.role, before.role) == ("viewer", "viewer")
    assert after.got == "an expired one"


def test_new_keys_are_found_and_invented_names_do_not_make_the_provider_read_again(provider: Provider) -> None:
    good = {"groups": ["fleet-admins"], "exp": int(time.time()) + 10**6}

    async def talk() -> None:
        clock = Clock()
        tokens = open_bearer_tokens(make_config(provider), lambda: clock.time_s, lambda: clock.timer_s)
        old, reads = provider.make_token(**good), provider.key_reads
        assert [one.role for one in await asyncio.gather(*(tokens.identify(old) for _ in range(20)))] == ["admin"] * 20
        assert provider.key_reads == reads + 1
        invented = [provider.make_token({"name": f"invented-{number}"}, **good) for number in range(50)]
        assert all([isinstance(await ask(tokens, text), TokenError) for text in invented])
        assert provider.key_reads == reads + 1
        clock.timer_s += 11
        assert all([isinstance(await ask(tokens, text), TokenError) for text in invented])
        assert provider.key_reads == reads + 2
        provider.rotate("second", keeps_old=True)
        clock.timer_s += 11
        new = provider.make_token({"algorithm": "ES256"}, **good)
        assert (await tokens.identify(new)).role == "admin"
        assert (await tokens.identify(old)).role == "admin"
        assert provider.key_reads == reads + 3
        provider.rotate("third")
        clock.timer_s += 601
        await ask(tokens, old)  # the keys are read again beside it
        await asyncio.wait_for(tokens.issuer._reading, 10)  # type: ignore[arg-type]
        assert isinstance(await ask(tokens, old), TokenError)

    asyncio.run(talk())


def test_while_the_provider_is_down_known_keys_count_for_a_day_and_no_others(provider: Provider) -> None:
    good, signed = {"groups": ["fleet-admins"], "exp": int(time.time()) + 10**6}, {"algorithm": "ES256"}
    provider.rotate("fourth")
    text, unknown = provider.make_token(signed, **good), provider.make_token({**signed, "name": "newer"}, **good)

    async def talk() -> None:
        clock = Clock()
        tokens = open_bearer_tokens(make_config(provider), lambda: clock.time_s, lambda: clock.timer_s)
        provider.is_down = True
        assert isinstance(await ask(tokens, text), IssuerError)
        provider.is_down = False
        assert isinstance(await ask(tokens, text), IssuerError)  # asked again after a pause only
        clock.timer_s += 11
        assert (await tokens.identify(text)).role == "admin"
        assert tokens.issuer.error == ""
        provider.is_down = True
        clock.timer_s += 3600
        assert (await tokens.identify(text)).role == "admin"
        await asyncio.wait_for(tokens.issuer._reading, 10)  # type: ignore[arg-type]
        assert "503" in tokens.issuer.error
        assert isinstance(await ask(tokens, unknown), IssuerError)
        clock.timer_s += 86_400
        assert isinstance(await ask(tokens, text), IssuerError)

    try:
        asyncio.run(talk())
    finally:
        provider.is_down = False


def test_another_issuer_than_the_configured_one_is_not_believed(provider: Provider) -> None:
    async def talk() -> Any:
        tokens = open_bearer_tokens(make_config(provider, issuer=provider.url.replace("localhost", "127.0.0.1")))
        return await ask(tokens, provider.make_token({"algorithm": "ES256"})), tokens.issuer.error

    problem, error = asyncio.run(talk())
    assert isinstance(problem, IssuerError)
    assert "oidc.issuer must be the same" in error


def test_without_an_audience_no_token_is_accepted(provider: Provider, identify: Any) -> None:
    (problem,) = identify(provider.make_token({"algorithm": "ES256"}), audience=None, client_id="console")
    assert isinstance(problem, TokenError)
    assert "oidc.audience is null" in str(problem)
