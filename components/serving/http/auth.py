"""Who is asking: from a request's Authorization header to what it may do. Knows keys; does not know what is asked."""

import asyncio
from dataclasses import dataclass

from components.config import TENANT_ID
from components.errors import WorkspaceError
from components.serving.errors import RefusalError, make_unavailable_error
from components.serving.fleet.versions import make_not_found_error
from components.serving.http.api_keys import ApiKeys


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose key has been recognised."""

    tenant: str | None
    """None: an admin, or anybody on a server that has no keys."""

    @property
    def is_admin(self) -> bool:
        """Whether all tenants and the admin's doors are open."""
        return self.tenant is None

    def check_access(self, tenant: str) -> None:
        """Refuse another's tenant exactly as one that is not there, before anything of it is looked at.

        Raises:
            RefusalError: 404.
        """
        if self.tenant not in (None, tenant) or not TENANT_ID.fullmatch(tenant):
            raise make_not_found_error()


class Authenticator:
    """Recognises callers. An open one lets everybody in until the first key is made."""

    def __init__(self, keys: ApiKeys, *, allows_anonymous: bool) -> None:
        self._keys = keys
        self.allows_anonymous = allows_anonymous

    async def authenticate(self, authorization: str | None) -> Caller:
        """Who this is.

        Raises:
            RefusalError: 401, no key, or none that opens anything; 503, the keys cannot be read.
        """
        kind, _, text = (authorization or "").partition(" ")
        try:
            if self.allows_anonymous:
                self.allows_anonymous = not await asyncio.to_thread(self._keys.has_any)
            if self.allows_anonymous:
                return Caller(None)
            key = await asyncio.to_thread(self._keys.verify, text.strip() if kind.lower() == "bearer" else "")
        except WorkspaceError:
            raise make_unavailable_error("to look up the key", "no answer from the database of keys") from None
        if key is None:
            got = "one that opens nothing" if authorization else "none"
            fix = "send `Authorization: Bearer <key>` with a key that your operator made (`prefixfleet keys create`)"
            raise RefusalError(401, "an API key", got, fix, code="invalid_api_key")
        return Caller(key.tenant)

    async def require_admin(self, authorization: str | None) -> None:
        """Let only admins pass.

        Raises:
            RefusalError: 401 or 503 as above; 403, a tenant's key.
        """
        if not (await self.authenticate(authorization)).is_admin:
            raise RefusalError(403, "an admin's key", "a tenant's", "ask your operator", code="admin_only")
