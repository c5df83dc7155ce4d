"""Log in with an API key, and log out."""

from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from components.console.security import COOKIE, FormFields
from components.console.view import OpenView, View

router = APIRouter()


def make_login_url(view: View) -> str:
    """Return the URL of the login that leads back to the page that was asked for; after a form, to the start page."""
    url = view.request.url
    wanted = f"{url.path}?{url.query}" if url.query else url.path
    if view.request.method != "GET":
        wanted = f"{view.root}/"
    return f"{view.root}/login?next={quote(wanted)}"


@router.get("/login", response_model=None)
def show_login(view: OpenView, next: str = "") -> Response:  # noqa: A002 - the parameter's name in the URL
    """Show the form, also to a visitor who has logged in."""
    return view.render("login.html", next=next, problem="")


@router.post("/login", response_model=None)
def log_in(view: OpenView, form: FormFields) -> Response:
    """Begin a session, with a new id."""
    wanted = form.get("next", "")
    session_id = view.console.sessions.log_in(form.get("key", "").strip())
    if session_id is None:
        problem = "Wanted a valid API key; got an unknown, expired or revoked one. See `prefixfleet keys list`."
        return view.render("login.html", status=401, next=wanted, problem=problem)
    view.console.sessions.log_out(view.session_id)
    is_own = wanted.startswith(f"{view.root}/") and not wanted.startswith("//") and "\\" not in wanted
    response = RedirectResponse(wanted if is_own else f"{view.root}/", 303)
    view.set_session(response, session_id)
    return response


@router.post("/logout", response_model=None)
def log_out(view: OpenView) -> Response:
    """End the session."""
    view.console.sessions.log_out(view.session_id)
    response = RedirectResponse(f"{view.root}/login", 303)
    response.delete_cookie(COOKIE, path=view.root or "/", httponly=True, samesite="strict")
    return response
