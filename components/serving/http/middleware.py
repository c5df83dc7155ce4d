"""What every request passes before the application: too large, too late, or from elsewhere. Knows ASGI and the service.

Counts the callers' requests that are under way, so that a server which ends can wait for them.
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
        """Refuse, or count and hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_host(scope)
            is_caller = scope["path"].startswith(_API_PATH_PREFIX)
            if is_caller and self._service.draining:
                raise make_unavailable_error("an answer", "a server that is about to end")
            receive = await self._limit_body(scope, receive)
        except RefusalError as refusal:
            self._service.metrics.refusals.labels(refusal.status).inc()
            told = {"connection": "close", "x-request-id": get_request_id(Request(scope))}
            await make_error_response(refusal, told)(scope, receive, send)
            return
        with self._service.count_in_flight() if is_caller else nullcontext():
            await self._app(scope, receive, send)

    def _check_host(self, scope: MutableMapping[str, Any]) -> None:
        """Without keys the server is on loopback alone; a page in a browser must not reach it by a name of its own."""
        host = _PORT_SUFFIX.sub("", _find_header(scope, b"host"))
        if self._service.authenticator.allows_anonymous and host not in _LOCAL_HOSTS:
            fix = "use localhost, or make keys (`prefixfleet keys create`)"
            raise RefusalError(403, "a request to localhost, while there are no keys", repr(host), fix)

    async def _limit_body(self, scope: MutableMapping[str, Any], receive: Receive) -> Receive:
        """`receive`, after a body that is too long, or that does not say how long it is, has been looked at.

        A transfer-encoding counts for more than a content-length beside it: the body may be of any length.
        """
        limit, told = self._service.params.serve.max_body_bytes, _find_header(scope, b"content-length")
        if told:
            self._check_size(int(told) if told.isdecimal() else limit + 1, limit)
        if not _find_header(scope, b"transfer-encoding"):
            return receive
        kept, size, more = [], 0, True
        while more:
            message = await receive()
            kept.append(message)
            size += len(message.get("body", b""))
            self._check_size(size, limit)
            more = message.get("more_body", False)
        kept.reverse()

        async def replay() -> Message:
            return kept.pop() if kept else await receive()

        return replay

    @staticmethod
    def _check_size(size: int, limit: int) -> None:
        if size > limit:
            raise RefusalError(
                413, f"a body of at most {limit} bytes", f"{size} or more", "send less", code="too_large"
            )


def _find_header(scope: MutableMapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
