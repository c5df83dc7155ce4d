"""Claims as Keycloak, Entra, Google and Auth0 send them become roles and tenants."""

from typing import Any

import pytest

from components.access.oidc.errors import RoleError
from components.access.oidc.identity import find_identity
from components.config.oidc import OidcConfig

ROLES = {"admin": ["boss", "Fleet Admins"], "operator": ["ops"], "viewer": ["look"]}


def identify(claims: dict[str, Any], **values: Any) -> Any:
    config = OidcConfig(**{"issuer": "https://id.example", "audience": "api", "roles": ROLES, **values})
    return find_identity({"sub": "p-1", **claims}, config)


@pytest.mark.parametrize(
    ("claims", "values", "role"),
    [
        ({"groups": ["x", "ops"]}, {}, "operator"),
        ({"groups": ["look", "ops", "boss"]}, {}, "admin"),
        ({"groups": "Fleet Admins"}, {}, "admin"),
        ({"realm_access": {"roles": ["look"]}}, {"role_claim": "realm_access.roles"}, "viewer"),
        ({"https://fleet.example/roles": ["look"]}, {"role_claim": "https://fleet.example/roles"}, "viewer"),
        ({"scope": "openid ops"}, {"role_claim": "scope"}, "operator"),
    ],
)
def test_a_claims_values_give_the_role_with_most_rights(
    claims: dict[str, Any], values: dict[str, Any], role: str
) -> None:
    found = identify(claims, **values)
    assert (found.role, found.tenant) == (role, None)


@pytest.mark.parametrize(
    ("claims", "pattern"),
    [
        ({"tenant": "acme"}, "*"),
        ({"tenant": ["other", "tenant-acme", "tenant-"]}, "tenant-*"),
        ({"tenant": ["/tenants/acme/users", "/tenants/UPPER/users"]}, "/tenants/*/users"),
    ],
)
def test_a_claim_names_the_tenant_of_who_has_no_other_role(claims: dict[str, Any], pattern: str) -> None:
    found = identify(claims, tenant_claim="tenant", tenant_pattern=pattern)
    assert (found.role, found.tenant) == ("tenant", "acme")
    assert identify({**claims, "groups": ["look"]}, tenant_claim="tenant").role == "viewer"


@pytest.mark.parametrize(
    ("claims", "got"),
    [
        ({}, "neither"),
        ({"groups": [], "tenant": "*viewer"}, "neither"),
        ({"groups": {"ops": True}, "tenant": ["a/b", "", 7]}, "neither"),
        ({"groups": ["opsx", "OPS"], "tenant": None}, "neither"),
        ({"tenant": ["acme", "birch"]}, "several tenants"),
    ],
)
def test_without_a_role_or_with_two_tenants_nothing_is_granted(claims: dict[str, Any], got: str) -> None:
    with pytest.raises(RoleError) as caught:
        identify(claims, tenant_claim="tenant")
    assert caught.value.got == got
    assert "docs/access.md" in str(caught.value)


def test_an_address_that_the_provider_has_not_checked_gives_no_role() -> None:
    by_address = {"role_claim": "email", "roles": {"admin": ["ada@x.example"]}}
    assert identify({"email": "ada@x.example", "email_verified": True}, **by_address).role == "admin"
    for verified in ({}, {"email_verified": False}, {"email_verified": "true"}):
        with pytest.raises(RoleError):
            identify({"email": "ada@x.example", **verified}, **by_address)


def test_the_name_is_the_subject_and_an_address_that_is_not_unverified() -> None:
    assert identify({"groups": "ops", "email": "ada@x.example"}).name == "ada@x.example (oidc p-1)"
    assert identify({"groups": "ops", "email": "ada@x.example", "email_verified": False}).name == "oidc p-1"
    odd = identify({"groups": "ops", "email": "a\nb\u202e" + "x" * 500, "sub": "s" * 500})
    assert len(odd.name) <= 200
    assert odd.name.isprintable()
    assert odd.id != identify({"groups": "ops"}).id == identify({"groups": "look"}).id
