"""Log in at an OpenID Connect provider: leave for it, and come back from it."""

from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from components.access.oidc.errors import IssuerError, RoleError, TokenError
from components.console.refusals import make_not_found_error
from components.console.sessions import Visitor
from components.console.view import OpenView, View
from components.errors import PrefixFleetError

if TYPE_CHECKING:
    from components.access.oidc.login import CodeLogin

router = APIRouter()

_COOKIE = "prefixfleet_login"
_SECONDS = 600
_PATH = "/login/oidc"


@router.get(_PATH, response_model=None)
async def leave(view: OpenView, next: str = "") -> Response:  # noqa: A002 - the parameter's name in the URL
    """Lead to the provider."""
    login = _get_login(view)
    try:
        url, cookie = await login.begin(_get_redirect_uri(view), next)
    except IssuerError as problem:
        return _refuse(view, 503, problem, next)
    response = RedirectResponse(url, 303)
    # Not strict: the browser comes back from another site.
    path, secure = f"{view.root}{_PATH}", view.is_secure
    response.set_cookie(_COOKIE, cookie, max_age=_SECONDS, path=path, httponly=True, samesite="lax", secure=secure)
    return response


@router.get(f"{_PATH}/callback", response_model=None)
async def come_back(view: OpenView) -> Response:
    """Begin a session, with a new id, for whom the provider names."""
    login, request = _get_login(view), view.request
    try:
        done = await login.finish(request.query_params, request.cookies.get(_COOKIE, ""), _get_redirect_uri(view))
    except TokenError as problem:
        return _refuse(view, 401, problem)
    except RoleError as problem:
        return _refuse(view, 403, problem)
    except IssuerError as problem:
        return _refuse(view, 503, problem)
    sessions, identity = view.console.sessions, done.identity
    sessions.log_out(view.session_id)
    session_id = sessions.log_in_person(Visitor(identity.tenant, identity.role, identity.name), done.id_token)
    # A redirect would still count as a request of the provider's site, and would come without the strict cookie.
    page = done.page if view.is_own_page(done.page) else f"{view.root}/"
    response = view.render("leave.html", url=page, what="Logged in")
    view.set_session(response, session_id)
    response.delete_cookie(_COOKIE, path=f"{view.root}{_PATH}", httponly=True, samesite="lax")
    return response


def _get_login(view: View) -> "CodeLogin":
    sign_on = view.console.sign_on
    if sign_on is None or sign_on.login is None:
        raise make_not_found_error("a login at an identity provider")
    return sign_on.login


def _get_redirect_uri(view: View) -> str:
    return f"{view.url}{_PATH}/callback"


def _refuse(view: View, status: int, problem: PrefixFleetError, page: str = "") -> Response:
    return view.render("login.html", status=status, next=page, problem=f"W{str(problem)[1:]}.")
