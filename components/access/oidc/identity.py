"""From the claims of a verified token to a role and a tenant. Pure: knows claims and the section `oidc`."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.access.api_keys import FleetRole, Role
from components.access.oidc.errors import RoleError
from components.config import TENANT_ID
from components.config.oidc import OidcConfig

_SPACED_CLAIMS = ("scope", "scp")
"""Claims that list their values in one text, with spaces between them (RFC 8693)."""
_MAX_NAME_CHARS, _MAX_PART_CHARS = 200, 90


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has a token, and what they may do."""

    role: Role
    tenant: str | None
    """The tenant of the role tenant; None: the role decides."""
    name: str
    """For the ledger: the e-mail address if there is one, and the subject."""
    id: str
    """16 characters that stand for issuer and subject, and are no key's id."""


def find_identity(claims: Mapping[str, Any], config: OidcConfig) -> Identity:
    """Return who the claims are about.

    Raises:
        RoleError: they name no role and no tenant, or several tenants.
    """
    subject = str(claims["sub"])
    digest = hashlib.sha256(f"{config.issuer} {subject}".encode()).hexdigest()
    name, own_id = _make_name(claims, subject), f"u{digest[:15]}"
    values = set(_read_claim(claims, config.role_claim))
    roles: tuple[tuple[FleetRole, list[str]], ...] = (
        ("admin", config.roles.admin),
        ("operator", config.roles.operator),
        ("viewer", config.roles.viewer),
    )
    for role, named in roles:
        if not values.isdisjoint(named):
            return Identity(role, None, name, own_id)
    tenants = set(_find_tenants(claims, config))
    if len(tenants) == 1:
        return Identity("tenant", tenants.pop(), name, own_id)
    wanted = f"a role in the claim {config.role_claim}"
    if config.tenant_claim is not None:
        wanted += f", or one tenant in the claim {config.tenant_claim}"
    got = "several tenants" if tenants else "neither" if config.tenant_claim is not None else "none of this fleet"
    raise RoleError(wanted, got, "ask your operator to assign you a role (docs/access.md, section oidc of params.yaml)")


def has_claim(claims: Mapping[str, Any], name: str | None) -> bool:
    """Return whether a claim is there; None: none is wanted."""
    return name is None or _find_value(claims, name) is not None


def _find_tenants(claims: Mapping[str, Any], config: OidcConfig) -> Iterator[str]:
    start, _, end = config.tenant_pattern.partition("*")
    for value in _read_claim(claims, config.tenant_claim or ""):
        tenant = value.removeprefix(start).removesuffix(end)
        if f"{start}{tenant}{end}" == value and TENANT_ID.fullmatch(tenant):
            yield tenant


def _read_claim(claims: Mapping[str, Any], name: str) -> list[str]:
    value = _find_value(claims, name)
    if name == "email" and claims.get("email_verified") is not True:
        return []  # people may choose an address that nobody has checked
    if isinstance(value, str):
        return value.split() if name in _SPACED_CLAIMS else [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _find_value(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its whole name, which may have dots, or by its path."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _make_name(claims: Mapping[str, Any], subject: str) -> str:
    email = claims.get("email")
    shown = _shorten(subject)
    if isinstance(email, str) and email and claims.get("email_verified") is not False:
        return f"{_shorten(email)} (oidc {shown})"[:_MAX_NAME_CHARS]
    return f"oidc {shown}"


def _shorten(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_MAX_PART_CHARS]
