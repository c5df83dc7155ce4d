"""Check every request before the application: its size, its Host header, and whether the server is shutting down.

Counts the requests of the API in flight, so that a shutdown can wait for them. Knows ASGI and the service; does not
know the routes.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from fastapi import Request

from components.serving.errors import RefusalError, make_error_response, make_unavailable_error
from components.serving.http.routes import get_request_id
from components.serving.http.service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_API_PATH_PREFIX = "/v1/"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_PORT_SUFFIX = re.compile(r":\d+$")


class AdmissionMiddleware:
    """ASGI middleware."""

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_host(scope)
            is_api = scope["path"].startswith(_API_PATH_PREFIX)
            if is_api and self._service.draining:
                raise make_unavailable_error("an answer", "a server that is shutting down")
            receive = await self._limit_body(scope, receive)
        except RefusalError as refusal:
            self._service.metrics.refusals.labels(refusal.status).inc()
            headers = {"connection": "close", "x-request-id": get_request_id(Request(scope))}
            await make_error_response(refusal, headers)(scope, receive, send)
            return
        with self._service.count_in_flight() if is_api else nullcontext():
            await self._app(scope, receive, send)

    def _check_host(self, scope: MutableMapping[str, Any]) -> None:
        """Refuse other hosts while no key is needed: a web page must not reach the server by DNS rebinding."""
        host = _PORT_SUFFIX.sub("", _find_header(scope, b"host"))
        if self._service.authenticator.allows_anonymous and host not in _LOCAL_HOSTS:
            fix = "use localhost, or create a key (`prefixfleet keys create`)"
            raise RefusalError(403, "the host localhost (the server has no API keys)", repr(host), fix)

    async def _limit_body(self, scope: MutableMapping[str, Any], receive: Receive) -> Receive:
        """Check the size of the body and return the function that receives it.

        A body with a transfer-encoding is received here, as its length is unknown whatever its content-length says.
        """
        limit, content_length = self._service.params.serve.max_body_bytes, _find_header(scope, b"content-length")
        if content_length:
            self._check_size(int(content_length) if content_length.isdecimal() else limit + 1, limit)
        if not _find_header(scope, b"transfer-encoding"):
            return receive
        messages, size, more = [], 0, True
        while more:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            self._check_size(size, limit)
            more = message.get("more_body", False)
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        return replay

    @staticmethod
    def _check_size(size: int, limit: int) -> None:
        if size > limit:
            raise RefusalError(
                413, f"a body of at most {limit} bytes", f"{size} bytes or more", "send less", code="too_large"
            )


def _find_header(scope: MutableMapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
