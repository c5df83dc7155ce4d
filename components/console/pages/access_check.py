"""Whether a request to a server beside the console may pass: for a proxy in front of MLflow and Prefect.

nginx asks with `auth_request`. Knows keys, sessions and tokens; does not know which server is asked for what.
"""

import base64
import binascii
from typing import Annotated, get_args
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from components.access.api_keys import FleetRole, Role
from components.console.credentials import find_token_holder
from components.console.refusals import PageRefusedError
from components.console.security import COOKIE
from components.console.sessions import Visitor
from components.console.view import get_console

router = APIRouter()

_RANKS: tuple[Role, ...] = get_args(FleetRole)
"""From the least rights to the most."""


def _read_credentials(request: Request) -> str:
    """Return the key or token of the request's header; "": none."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            text = base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return "?"
    elif kind.lower() != "bearer":
        return "?" if kind else ""
    return text.strip() or "?"


def _find_known(request: Request, text: Annotated[str, Depends(_read_credentials)]) -> Visitor | None:
    """Return the holder of the key, or of the session if there is no header. It reads the database: in a thread."""
    sessions = get_console(request).sessions
    if text:
        return sessions.find_holder(text)
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin.lower()).netloc != request.headers.get("host", "").lower():
        fix = "send a key instead of the console's cookie"
        raise PageRefusedError(403, "a request of a page of this host", "one of another site's page", fix)
    return sessions.find_visitor(request.cookies.get(COOKIE, ""))


@router.get("/access", response_model=None)
async def check_access(
    request: Request,
    text: Annotated[str, Depends(_read_credentials)],
    known: Annotated[Visitor | None, Depends(_find_known)],
    role: Annotated[FleetRole, Query()] = "viewer",
) -> Response:
    """204 if who asks has at least this role over all tenants, 401 without a valid login, 403 with another role.

    The credentials are the console's cookie, or a key or token as `Authorization: Bearer`, or as the password of
    `Authorization: Basic`. The headers of the answer have the name and the role.
    """
    visitor = known if known is not None else await find_token_holder(get_console(request), text)
    if visitor is None:
        fix = "log in to the console, or send `Authorization: Bearer <key>`"
        raise PageRefusedError(401, "a login, or a valid key", "none", fix)
    if visitor.role not in _RANKS or _RANKS.index(visitor.role) < _RANKS.index(role):
        fix = "ask your operator for the role"
        raise PageRefusedError(403, f"the role {role}, or one with more rights", f"the role {visitor.role}", fix)
    headers = {"x-prefixfleet-user": quote(visitor.name, safe=" @()+"), "x-prefixfleet-role": visitor.role}
    return Response(status_code=204, headers=headers)
