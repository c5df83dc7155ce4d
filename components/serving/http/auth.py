"""Who is asking: from a request's Authorization header to what it may do. Knows keys; does not know what is asked."""

import asyncio
from dataclasses import dataclass

from components.config import TENANT_ID
from components.errors import WorkspaceError
from components.serving.errors import RefusalError, unavailable
from components.serving.fleet.versions import not_found
from components.serving.http.api_keys import Keys


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose key has been recognised."""

    tenant: str | None
    """None: an admin, or anybody on a server that has no keys."""

    @property
    def is_admin(self) -> bool:
        """Whether all tenants and the admin's doors are open."""
        return self.tenant is None

    def check(self, tenant: str) -> None:
        """Refuse another's tenant exactly as one that is not there, before anything of it is looked at.

        Raises:
            RefusalError: 404.
        """
        if self.tenant not in (None, tenant) or not TENANT_ID.fullmatch(tenant):
            raise not_found()


class Door:
    """Recognises callers. An open one lets everybody in until the first key is made."""

    def __init__(self, keys: Keys, *, is_open: bool) -> None:
        self._keys = keys
        self.is_open = is_open

    async def caller(self, authorization: str | None) -> Caller:
        """Who this is.

        Raises:
            RefusalError: 401, no key, or none that opens anything; 503, the keys cannot be read.
        """
        kind, _, text = (authorization or "").partition(" ")
        try:
            if self.is_open:
                self.is_open = not await asyncio.to_thread(self._keys.any)
            if self.is_open:
                return Caller(None)
            key = await asyncio.to_thread(self._keys.recognise, text.strip() if kind.lower() == "bearer" else "")
        except WorkspaceError:
            raise unavailable("to look up the key", "no answer from the database of keys") from None
        if key is None:
            got = "one that opens nothing" if authorization else "none"
            fix = "send `Authorization: Bearer <key>` with a key that your operator made (`prefixfleet keys create`)"
            raise RefusalError(401, "an API key", got, fix, code="invalid_api_key")
        return Caller(key.tenant)

    async def admin(self, authorization: str | None) -> None:
        """Let only admins pass.

        Raises:
            RefusalError: 401 or 503 as above; 403, a tenant's key.
        """
        if not (await self.caller(authorization)).is_admin:
            raise RefusalError(403, "an admin's key", "a tenant's", "ask your operator", code="admin_only")
