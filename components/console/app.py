"""The console's application: the pages, their protection, their errors and their static files.

Knows FastAPI and the pages; does not know where it is mounted.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from components.access.api_keys import ApiKeys
from components.config.console import ConsoleConfig
from components.config.oidc import OidcConfig
from components.console.comparisons import Comparisons
from components.console.fleet.board import FleetBoard
from components.console.fleet.reading import make_fleet_reader
from components.console.moves_api import build_moves_api
from components.console.pages import access_check, compare, fleet, login, nights, playground, sign_on, tenant, trial
from components.console.refusals import LoginNeededError, PageRefusedError, find_status
from components.console.rendering import STATIC
from components.console.security import SecurityHeaders, make_form_check
from components.console.sessions import Sessions
from components.console.sources import Sources
from components.console.view import Console, NavigationLink, View, find_visitor
from components.errors import PrefixFleetError

if TYPE_CHECKING:
    from components.access.oidc.login import SingleSignOn

PAGES = (login, sign_on, access_check, fleet, tenant, compare, trial, playground, nights)
NAVIGATION = (NavigationLink("Fleet", "/"), NavigationLink("Nights", "/nights"))
TENANT_TABS = (
    NavigationLink("Overview", ""),
    NavigationLink("Versions", "/versions"),
    NavigationLink("Compare", "/compare"),
    NavigationLink("Trial", "/trial"),
    NavigationLink("Try", "/try"),
    NavigationLink("Data", "/data"),
)

_LOGGER = logging.getLogger("prefixfleet")
_MIN_COMPRESSED_BYTES = 1000


def build_console(
    sources: Sources,
    config: ConsoleConfig,
    oidc: OidcConfig | None = None,
    *,
    clock: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Return the application, to be mounted at any path. Nothing is read before the first request.

    `clock` gives seconds since 1970, `timer` monotonic seconds. Raises WorkspaceError.
    """
    keys = ApiKeys(sources.database, clock, fresh_seconds=2.0, timer=timer)
    sessions = Sessions(keys, timer, config.session_hours, is_closed=oidc is not None)
    board = FleetBoard(make_fleet_reader(sources, clock), timer, config.refresh_seconds)
    check_form = make_form_check(sessions, board.expire)
    app = FastAPI(openapi_url=None, redirect_slashes=False, dependencies=[Depends(check_form)])
    app.state.console = Console(
        sources=sources,
        comparisons=Comparisons(sources),
        board=board,
        sessions=sessions,
        sign_on=_open_sign_on(oidc, clock, timer),
        config=config,
        navigation=NAVIGATION,
        tenant_tabs=TENANT_TABS,
    )
    for page in PAGES:
        app.include_router(page.router)
    app.mount("/api", build_moves_api(app.state.console))
    app.mount("/static", _CachedFiles(directory=STATIC), name="static")
    app.add_middleware(GZipMiddleware, minimum_size=_MIN_COMPRESSED_BYTES)
    app.add_middleware(SecurityHeaders)
    _handle_errors(app)
    return app


def _open_sign_on(
    oidc: OidcConfig | None, clock: Callable[[], float], timer: Callable[[], float]
) -> "SingleSignOn | None":
    if oidc is None:
        return None
    from components.access.oidc.login import open_single_sign_on

    return open_single_sign_on(oidc, os.environ, clock, timer)


class _CachedFiles(StaticFiles):
    """Static files, whose URLs change with their content."""

    async def get_response(self, path: str, scope: "dict[str, object]") -> Response:  # type: ignore[override]
        """Return a file that browsers keep."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(PrefixFleetError)
    def handle_error(request: Request, problem: PrefixFleetError) -> Response:
        view = _open_view(request)
        if isinstance(problem, LoginNeededError):
            url = login.make_login_url(view)
            if view.is_part:
                return Response(status_code=401, headers={"hx-redirect": url})
            return RedirectResponse(url, 303)
        return view.render("error.html", status=find_status(problem), problem=problem)

    @app.exception_handler(HTTPException)
    def handle_http_error(request: Request, problem: HTTPException) -> Response:
        got = f"{request.method} {request.url.path[:100]}"
        refusal = PageRefusedError(problem.status_code, "a page of the console", got, "go back to the start page")
        return _open_view(request).render("error.html", status=problem.status_code, problem=refusal)

    @app.exception_handler(RequestValidationError)
    def handle_invalid_values(request: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        got = f"{first['loc'][-1]}: {str(first.get('input'))[:100]!r}"
        refusal = PageRefusedError(400, str(first["msg"]), got, "use the page's own controls")
        return _open_view(request).render("error.html", status=400, problem=refusal)

    @app.exception_handler(Exception)
    def handle_fault(request: Request, problem: Exception) -> Response:
        _LOGGER.error("the console could not make %s", request.url.path, exc_info=problem)
        refusal = PageRefusedError(500, "a page", "a fault of the console", "see its log")
        return _open_view(request).render("error.html", status=500, problem=refusal)


def _open_view(request: Request) -> View:
    try:
        visitor = find_visitor(request)
    except PrefixFleetError:
        visitor = None
    return View(request, request.app.state.console, visitor)
