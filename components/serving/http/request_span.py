"""A span for each request of the API, from its header to the end of its answer; only added with PREFIXFLEET_OTEL.

It goes on with the caller's trace if the request has W3C's header `traceparent`. Knows ASGI; does not know the routes.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import Request

from components.otel.spans import open_span, read_parent
from components.serving.http.body_reader import Message, Receive
from components.serving.http.header_checks import find_header
from components.serving.http.request_id import get_request_id

Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_API_PATH_PREFIX = "/v1/"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CONTEXT_HEADERS = ("traceparent", "tracestate")


class RequestSpanMiddleware:
    """ASGI middleware; outside of all others."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on within its span. The path of the span is the route's, never the caller's."""
        if scope["type"] != "http" or not scope["path"].startswith(_API_PATH_PREFIX):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})  # with the request's id, which the next middleware reads
        parent = read_parent({name: find_header(scope, name.encode()) for name in _CONTEXT_HEADERS})
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        request_id = get_request_id(Request(scope))
        with open_span(method, parent=parent, kind="server", method=method, request=request_id) as span:

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set(status=message["status"])
                    if message["status"] >= 500:
                        span.fail()
                await send(message)

            try:
                await self._app(scope, receive, send_noted)
            except Exception:  # what sends the answer is outside of all middleware
                span.set(status=500)
                raise
            finally:
                route = getattr(scope.get("route"), "path", "")
                if route:
                    span.set(route=route)
                    span.rename(f"{method} {route}")
