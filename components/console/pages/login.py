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
    response = RedirectResponse(wanted if view.is_own_page(wanted) else f"{view.root}/", 303)
    view.set_session(response, session_id)
    return response


@router.post("/logout", response_model=None)
async def log_out(view: OpenView) -> Response:
    """End the session; also the provider's own, if the login was there and it has an address for it."""
    id_token = view.console.sessions.log_out(view.session_id)
    sign_on = view.console.sign_on
    url = None
    if id_token and sign_on is not None and sign_on.login is not None:
        url = await sign_on.login.make_logout_url(id_token, f"{view.url}/login")
    response: Response
    if url is None:
        response = RedirectResponse(f"{view.root}/login", 303)
    else:  # a redirect after a form may not leave the console (form-action)
        response = view.render("leave.html", url=url, what="Logging out")
    response.delete_cookie(COOKIE, path=view.cookie_path, httponly=True, samesite="strict")
    return response
