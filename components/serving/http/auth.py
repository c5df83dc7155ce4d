"""Authenticate requests: from the Authorization header to the tenants that it grants. Does not know the routes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.access.api_keys import ApiKeys, Role
from components.config import TENANT_ID
from components.errors import WorkspaceError
from components.serving.errors import RefusalError, make_unavailable_error
from components.serving.fleet.version_checks import make_not_found_error
from components.serving.http.key_lookup import KeyLookup
from components.serving.interface import BusyError

if TYPE_CHECKING:
    from components.access.oidc.tokens import BearerTokens


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key or token."""

    tenant: str | None
    """The tenant that it grants; None: all of them, as far as the role permits."""
    key_id: str = ""
    """Id of the key, or what stands for a token's subject; "": the server needs neither."""
    role: Role = "admin"

    def check_access(self, tenant: str) -> None:
        """Refuse a tenant that the key does not grant, with the same error as for an unknown tenant.

        Raises:
            RefusalError: 404.
        """
        if self.tenant not in (None, tenant) or not TENANT_ID.fullmatch(tenant):
            raise make_not_found_error()


class Authenticator:
    """Authenticates callers by keys and tokens; with `allows_anonymous`, by nothing until the first key is made."""

    def __init__(self, keys: ApiKeys, *, allows_anonymous: bool, tokens: "BearerTokens | None" = None) -> None:
        """`tokens` are those of an identity provider; None: there is none."""
        self._keys = KeyLookup(keys)
        self.tokens = tokens
        self.allows_anonymous = allows_anonymous

    async def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller; `authorization` is the header's value.

        Raises:
            RefusalError: 401, no key or token, or one that is not valid; 403, a token without a role; 503, the keys
                cannot be read.
        """
        kind, _, credentials = (authorization or "").partition(" ")
        text = credentials.strip() if kind.lower() == "bearer" else ""
        if self.tokens is not None and self.tokens.is_token(text):
            return await _identify(self.tokens, text)
        try:
            if self.allows_anonymous:
                self.allows_anonymous = not await self._keys.has_any()
            if self.allows_anonymous:
                return Caller(None)
            key = await self._keys.verify(text)
        except WorkspaceError:
            raise make_unavailable_error("the database of keys", "no answer") from None
        except BusyError as problem:
            raise make_unavailable_error(problem.wanted, problem.got) from None
        if key is None:
            got = "an unknown, expired or revoked key" if authorization else "no key"
            fix = "send `Authorization: Bearer <key>`, with a key from your operator (`prefixfleet keys create`)"
            fix += ", or a token of your identity provider" if self.tokens is not None else ""
            raise RefusalError(401, "an API key", got, fix, code="invalid_api_key")
        return Caller(key.tenant, key.id, key.role)

    async def require_role(self, authorization: str | None, *roles: Role) -> None:
        """Refuse all keys but those of admins and of these roles.

        Raises:
            RefusalError: 401 or 503 as above; 403, a key of another role.
        """
        refuse_other_roles(await self.authenticate(authorization), *roles)


async def _identify(tokens: "BearerTokens", text: str) -> Caller:
    from components.access.oidc.errors import IssuerError, RoleError, TokenError

    try:
        identity = await tokens.identify(text)
    except TokenError as problem:
        raise RefusalError(401, problem.wanted, problem.got, problem.fix, code="invalid_token") from None
    except RoleError as problem:
        raise RefusalError(403, problem.wanted, problem.got, problem.fix, code="role") from None
    except IssuerError:
        raise make_unavailable_error("the keys of the identity provider", "no answer") from None
    return Caller(identity.tenant, identity.id, identity.role)


def refuse_other_roles(caller: Caller, *roles: Role) -> None:
    """Refuse a caller who is neither an admin nor of these roles. Raises RefusalError: 403."""
    if caller.role not in ("admin", *roles):
        wanted = " or ".join(f"the role {role}" for role in (*roles, "admin"))
        fix = "ask your operator for a key with it (`prefixfleet keys create`)"
        raise RefusalError(403, f"a key with {wanted}", f"a key with the role {caller.role}", fix, code="role")
