"""What protects the pages: response headers, and the token of every form. Knows HTTP; knows no page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request

from components.console.refusals import PageRefusedError
from components.console.sessions import Sessions

COOKIE = "prefixfleet_console"
TOKEN_FIELD = "form_token"  # noqa: S105 - the name of a field
_TOKEN_HEADER = "x-form-token"  # noqa: S105 - the name of a header
_SAFE_METHODS = ("GET", "HEAD")
_MAX_BODY_BYTES = 1_000_000

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""A response may set its own value."""


class SecurityHeaders:
    """ASGI middleware that adds the headers to every response."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Pass the request on."""

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                missing = [(name, value) for name, value in _HEADERS.items() if name not in present]
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def read_body(request: Request) -> bytes:
    """Return the body of a request. Raises PageRefusedError: 413, more than a megabyte."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise PageRefusedError(413, "a body of at most 1 MB", "a longer one", "send less")
    return bytes(body)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of an HTML form; of a repeated field the last value.

    Raises:
        PageRefusedError: 413, more than a megabyte; 400, not UTF-8.
    """
    known: dict[str, str] | None = getattr(request.state, "form_fields", None)
    if known is not None:
        return known
    body = await read_body(request)
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise PageRefusedError(400, "a form in UTF-8", "other bytes", "send the console's own form") from None
    request.state.form_fields = fields
    return fields


FormFields = Annotated[Mapping[str, str], Depends(read_form)]
"""A parameter of a route: the fields of its form."""


def make_form_check(sessions: Sessions, on_change: Callable[[], None]) -> Callable[[Request], AsyncIterator[None]]:
    """Return a dependency that refuses forms that this console did not give to this session.

    `on_change` is called after each form that a route has taken. It raises PageRefusedError: 403.
    """

    async def check_form(request: Request) -> AsyncIterator[None]:
        if request.method in _SAFE_METHODS:
            yield
            return
        origin = request.headers.get("origin", "null")
        token = request.headers.get(_TOKEN_HEADER) or (await read_form(request)).get(TOKEN_FIELD, "")
        is_own_page = origin == "null" or urlsplit(origin.lower()).netloc == request.headers.get("host", "").lower()
        if not is_own_page or not sessions.is_form_token(request.cookies.get(COOKIE, ""), token):
            got = "another form, or one of an earlier session"
            raise PageRefusedError(403, "a form of this console", got, "reload the page and send the form again")
        yield
        on_change()

    return check_form
