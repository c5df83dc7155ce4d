"""The section `oidc`: an OpenID Connect provider whose users and programs may use the server and the console."""

import ipaddress
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from components.config.section import Section

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a private key. Those by a shared secret (HS256 and others) and none are no choice."""
_USUAL: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA")


def is_secure_url(url: str) -> bool:
    """Return whether this is an address of HTTPS, or of HTTP on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises ValueError
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    return parts.scheme == "http" and is_local


class OidcRolesConfig(Section):
    """Which values of the claim `role_claim` give which role; the first role that fits counts."""

    admin: list[str] = Field(default_factory=list, description="values that make an admin, such as names of groups")
    operator: list[str] = Field(default_factory=list, description="values that make an operator")
    viewer: list[str] = Field(default_factory=list, description="values that make a viewer")


class OidcConfig(Section):
    """The provider, and what its tokens may do here (docs/access.md)."""

    issuer: str = Field(description="the provider's issuer URL; /.well-known/openid-configuration is below it")
    audience: str | None = Field(
        default=None,
        min_length=1,
        description="value of the claim aud in tokens for the API; null: only the console uses the provider",
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        description="the console's id at the provider; null: no login in the console. Its secret, if it has one, is in "
        "the environment variable PREFIXFLEET_OIDC_CLIENT_SECRET",
    )
    scopes: list[str] = Field(
        default_factory=lambda: ["openid", "profile", "email"], description="what the console's login asks for"
    )
    role_claim: str = Field(
        default="groups", min_length=1, description="claim with the roles; a.b: the key b in the claim a"
    )
    roles: OidcRolesConfig = Field(default=OidcRolesConfig(), description="values of `role_claim` for each role")
    tenant_claim: str | None = Field(
        default=None, min_length=1, description="claim that names the tenant of who has no other role; null: none"
    )
    tenant_pattern: str = Field(
        default="*", description="form of the claim's value, with * for the tenant's id, such as fleet-tenant-*"
    )
    algorithms: list[Algorithm] = Field(
        default_factory=lambda: list(_USUAL),
        min_length=1,
        description="signatures of tokens that are accepted",
    )
    leeway_seconds: float = Field(
        default=30.0, ge=0, le=300, description="by how much the clocks of provider and server may differ"
    )

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        if not is_secure_url(value) or urlsplit(value).query or urlsplit(value).fragment:
            raise ValueError("a URL of https (http only for localhost), without ? and #")
        return value

    @field_validator("scopes")
    @classmethod
    def _check_scopes(cls, value: list[str]) -> list[str]:
        if "openid" not in value or any(not scope or " " in scope for scope in value):
            raise ValueError("scopes, among them openid")
        return value

    @field_validator("tenant_pattern")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        if value.count("*") != 1:
            raise ValueError("a text with one *, which stands for the tenant's id")
        return value

    @model_validator(mode="after")
    def _check_uses(self) -> Self:
        if self.audience is None and self.client_id is None:
            raise ValueError("an audience (for the API), a client_id (for the console), or both")
        named = [*self.roles.admin, *self.roles.operator, *self.roles.viewer]
        if not named and self.tenant_claim is None:
            raise ValueError("values in roles, or a tenant_claim: without them nobody may do anything")
        if len(set(named)) < len(named):
            raise ValueError("each value in one role only")
        return self
