"""The route of an endpoint that needs a key: who calls, and whether they may, is decided before the body is read.

FastAPI itself reads and parses a body before it calls a dependency. Knows FastAPI and the service; does not know the
endpoints.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from components.access.api_keys import Role
from components.serving.http.auth import Caller, refuse_other_roles
from components.serving.http.large_bodies import LARGE_BYTES
from components.serving.http.service import Service

_OPEN_TO: dict[tuple[str, str], tuple[Role, ...]] = {
    ("GET", "/v1/models"): ("viewer", "operator"),
    ("GET", "/v1/models/{model}"): ("viewer", "operator"),
    ("GET", "/v1/usage"): ("viewer", "operator"),
    ("POST", "/v1/completions"): ("operator",),
    ("POST", "/v1/chat/completions"): ("operator",),
    ("POST", "/v1/feedback"): ("operator",),
}
"""(Method, path) -> the roles that may call it, beside tenants and admins. Others get 403."""


class ApiRoute(APIRoute):
    """Authenticates the caller; if there is a body, counts the request against the quota of the key's tenant first."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI, "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()

        async def handle_authenticated(request: Request) -> Response:
            service: Service = request.app.state.service
            caller = await service.authenticator.authenticate(request.headers.get("authorization"))
            request.state.caller = caller
            refuse_other_roles(caller, "tenant", *_OPEN_TO.get((request.method, self.path_format), ()))
            if self.body_field is None:
                return await handle(request)
            if is_counted_on_arrival(caller):
                await service.quotas.admit(str(caller.tenant), 0)
            name, length = caller.tenant or "", request.headers.get("content-length", "")
            service.large_bodies.check_room(name, int(length) if length.isdecimal() else LARGE_BYTES + 1)
            content = await request.body()
            value = None
            if content and "json" in request.headers.get("content-type", ""):
                value = await service.large_bodies.parse(name, content)
            return await handle(_ParsedRequest(request, content, value))

        return handle_authenticated


def is_counted_on_arrival(caller: Caller) -> bool:
    """Return whether the tenant is known before the body: an admin names it in the body."""
    return caller.tenant is not None


class _ParsedRequest(Request):
    def __init__(self, request: Request, content: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._content, self._value = content, value

    async def body(self) -> bytes:
        return self._content

    async def json(self) -> Any:
        return self._value
