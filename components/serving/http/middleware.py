"""Check every request before the application: its header, its size, and whether the server is shutting down.

Counts the requests of the API in flight, so that a shutdown can wait for them; a request whose body has not arrived is
not in flight. Answers HEAD as GET without a body, and all but completions at a limited pace. Knows ASGI and the
service; does not know the routes.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any

from fastapi import Request

from components.logs import add_log_context
from components.serving.errors import RefusalError, make_error_response, make_unavailable_error
from components.serving.http.answer_pace import REFUSALS_BURST_SECONDS, REFUSALS_PER_SECOND, AnswerPace
from components.serving.http.body_reader import BodyReader, Message, Receive, check_size
from components.serving.http.connection_table import to_group
from components.serving.http.file_routes import FILES_PATH
from components.serving.http.header_checks import check_framing, check_is_local, find_header
from components.serving.http.request_id import get_request_id
from components.serving.http.service import Service

Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_API_PATH_PREFIX = "/v1/"
_ANSWER_PATHS = ("/v1/completions", "/v1/chat/completions")
_CLOSE = (b"connection", b"close")


class AdmissionMiddleware:
    """ASGI middleware."""

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service = app, service
        self._pace = AnswerPace(time.monotonic)
        self._refusal_pace = AnswerPace(
            time.monotonic, per_second=REFUSALS_PER_SECOND, burst_seconds=REFUSALS_BURST_SECONDS
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        scope.setdefault("state", {})  # with the caller, once the route knows it
        add_log_context(request=get_request_id(Request(scope)))  # each request has an asyncio task of its own
        with ExitStack() as in_flight:
            reader = self._make_reader(scope, receive, in_flight)

            async def send_checked(message: Message) -> None:
                if message["type"] == "http.response.start" and not reader.is_complete:
                    if not find_header(scope, b"expect"):
                        await reader.discard()
                    if not reader.is_complete and _CLOSE not in message["headers"]:
                        message["headers"] = [*message["headers"], _CLOSE]
                if message["type"] == "http.response.start" and _is_paced(scope, message["status"]):
                    pace = self._refusal_pace if message["status"] >= 400 else self._pace
                    await pace.wait(_name_caller(scope))
                await send({**message, "body": b""} if is_head and "body" in message else message)

            try:
                self._check(scope)
            except RefusalError as refusal:
                self._service.metrics.refusals.labels(refusal.status).inc()
                headers = {"connection": "close", "x-request-id": get_request_id(Request(scope))}
                await make_error_response(refusal, headers)(scope, reader, send_checked)
                return
            await self._app({**scope, "method": "GET"} if is_head else scope, reader, send_checked)

    def _make_reader(self, scope: MutableMapping[str, Any], receive: Receive, in_flight: ExitStack) -> BodyReader:
        def count() -> None:
            if scope["path"].startswith(_API_PATH_PREFIX):
                in_flight.enter_context(self._service.count_in_flight())

        has_body = find_header(scope, b"content-length") not in ("", "0") or bool(
            find_header(scope, b"transfer-encoding")
        )
        return BodyReader(receive, self._get_limit(scope), has_body=has_body, on_complete=count)

    def _get_limit(self, scope: MutableMapping[str, Any]) -> int:
        config = self._service.params.serve
        is_upload = scope["method"] == "POST" and scope["path"] == FILES_PATH
        return config.max_file_bytes if is_upload else config.max_body_bytes

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        check_framing(scope)
        if self._service.authenticator.allows_anonymous:
            check_is_local(scope)
        if self._service.draining and scope["path"].startswith(_API_PATH_PREFIX):
            raise make_unavailable_error("an answer", "a server that is shutting down")
        limit, length = self._get_limit(scope), find_header(scope, b"content-length")
        if length:
            check_size(int(length) if length.isdecimal() and len(length) < 20 else limit + 1, limit)


def _is_paced(scope: MutableMapping[str, Any], status: int) -> bool:
    """Return whether the answer costs little: it is neither a completion nor an error of the server."""
    return status < 500 and not (status == 200 and scope["path"] in _ANSWER_PATHS)


def _name_caller(scope: MutableMapping[str, Any]) -> str:
    """Return the key's tenant, or else the address: one caller's flood does not delay the others' answers."""
    caller = scope["state"].get("caller")
    if caller is not None and caller.tenant is not None:
        return str(caller.tenant)
    return to_group((scope.get("client") or ("",))[0])
