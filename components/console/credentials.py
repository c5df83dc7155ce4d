"""Who sends an API key or a token in the header of a request, instead of a session's cookie. Knows no page."""

from typing import Annotated

from fastapi import Depends, Request

from components.access.oidc.errors import IssuerError, RoleError, TokenError
from components.console.refusals import PageRefusedError
from components.console.sessions import Visitor
from components.console.view import Console, get_console


def _read_bearer(request: Request) -> str:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


def _find_key_holder(request: Request, text: Annotated[str, Depends(_read_bearer)]) -> Visitor | None:
    """Return the holder of a key. It reads the database: in a thread."""
    return get_console(request).sessions.find_holder(text) if text else None


async def _find_caller(
    request: Request,
    text: Annotated[str, Depends(_read_bearer)],
    holder: Annotated[Visitor | None, Depends(_find_key_holder)],
) -> Visitor:
    caller = holder or await find_token_holder(get_console(request), text)
    if caller is None:
        got = "an unknown, expired or revoked key, or something else" if text else "none"
        fix = "send `Authorization: Bearer <key>`, with an API key or a token of your identity provider"
        raise PageRefusedError(401, "an API key or a token", got, fix)
    return caller


Caller = Annotated[Visitor, Depends(_find_caller)]
"""A parameter of a route: the holder of the key or token in `Authorization: Bearer`; 401 without one that is valid."""


async def find_token_holder(console: Console, text: str) -> Visitor | None:
    """Return the holder of a token of the identity provider; None: the text is none, or there is no provider.

    Raises:
        PageRefusedError: 401, a token that is not valid; 403, one without a role; 503, the provider does not answer.
    """
    sign_on = console.sign_on
    if sign_on is None or not sign_on.bearer.is_token(text):
        return None
    try:
        identity = await sign_on.bearer.identify(text)
    except TokenError as problem:
        raise PageRefusedError(401, problem.wanted, problem.got, problem.fix) from None
    except RoleError as problem:
        raise PageRefusedError(403, problem.wanted, problem.got, problem.fix) from None
    except IssuerError as problem:
        raise PageRefusedError(503, problem.wanted, problem.got, problem.fix) from None
    return Visitor(identity.tenant, identity.role, identity.name)
