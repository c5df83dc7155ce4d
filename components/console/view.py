"""One request as a page sees it: who asks, what may be read, how the answer is rendered.

The parameters `CurrentView`, `TenantView` and `OperatorView` of a route say who may see it. Knows HTTP; knows no page.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from components.access.addresses import is_loopback_host
from components.config import TENANT_ID
from components.config.console import ConsoleConfig
from components.console.comparisons import Comparisons
from components.console.fleet.board import FleetBoard
from components.console.refusals import LoginNeededError, PageRefusedError, make_not_found_error
from components.console.rendering import make_asset_url, open_templates
from components.console.security import COOKIE, TOKEN_FIELD
from components.console.sessions import Sessions, Visitor
from components.console.sources import Sources
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.access.oidc.login import SingleSignOn


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """A link at the top of the pages, or a tab of a tenant; `path` is below the console or below the tenant."""

    label: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Console:
    """The parts of one console."""

    sources: Sources
    board: FleetBoard
    comparisons: Comparisons
    sessions: Sessions
    sign_on: "SingleSignOn | None"
    """None: people log in with keys alone."""
    config: ConsoleConfig
    navigation: tuple[NavigationLink, ...]
    tenant_tabs: tuple[NavigationLink, ...]


@dataclass
class View:
    """A request, its visitor and the console's parts."""

    request: Request
    console: Console
    visitor: Visitor | None
    """None: the page needs no login."""
    session_id: str = field(init=False)
    _is_new_session: bool = field(init=False)

    def __post_init__(self) -> None:
        """Take the session's id from the cookie, or make one."""
        sent = self.request.cookies.get(COOKIE, "")
        self.session_id, self._is_new_session = sent or self.console.sessions.make_id(), not sent

    @property
    def sources(self) -> Sources:
        """Where the facts are."""
        return self.console.sources

    @property
    def actor(self) -> Actor:
        """Who asks, and from which address, for the ledger."""
        return find_actor(self.request, self.visitor, "console")

    @property
    def root(self) -> str:
        """The path at which the console is mounted, without a slash at its end."""
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    @property
    def url(self) -> str:
        """The console's address in the browser, without a slash at its end."""
        base = self.request.url
        return self.console.config.url or f"{base.scheme}://{base.netloc}{self.root}"

    @property
    def cookie_path(self) -> str:
        """The path below which the session counts."""
        return self.console.config.cookie_path or self.root or "/"

    @property
    def is_part(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return self.request.headers.get("hx-request") == "true" and not self.request.headers.get("hx-boosted")

    @property
    def is_secure(self) -> bool:
        """Whether the browser uses HTTPS."""
        return self.url.startswith("https:")

    def render(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page; see `fill` for what its template has."""
        response = HTMLResponse(self.fill(template, **values), status)
        if self._is_new_session:
            self.set_session(response, self.session_id)
        return response

    def fill(self, template: str, **values: Any) -> Markup:
        """Return a filled template, which also has root, asset, visitor, navigation, tenant_tabs and csrf_field."""
        token = self.console.sessions.make_form_token(self.session_id)
        field_markup = Markup('<input type="hidden" name="{}" value="{}">').format(TOKEN_FIELD, token)
        shared = {
            "root": self.root,
            "path": self.request.scope["path"].removeprefix(self.root),
            "asset": make_asset_url(self.root),
            "visitor": self.visitor,
            "navigation": self.console.navigation,
            "tenant_tabs": self.console.tenant_tabs,
            "needs_login": self.console.sessions.needs_login(),
            "has_sign_on": self.console.sign_on is not None and self.console.sign_on.login is not None,
            "csrf_field": field_markup,
        }
        return Markup(open_templates().get_template(template).render({**shared, **values}))  # noqa: S704 - Jinja escaped

    def is_own_page(self, path: str) -> bool:
        """Return whether a login may lead to this path: it is on this host, where the session counts."""
        start = self.cookie_path.rstrip("/")
        is_plain = path.isprintable() and " " not in path and "\\" not in path
        return is_plain and path.startswith(f"{start}/") and not path.startswith("//")

    def set_session(self, response: Response, session_id: str) -> None:
        """Let the browser keep a session's id."""
        response.set_cookie(
            COOKIE, session_id, path=self.cookie_path, httponly=True, samesite="strict", secure=self.is_secure
        )


def find_actor(request: Request, visitor: Visitor | None, part: str) -> Actor:
    """Return who asks, and from which address through which part, for the ledger."""
    host = request.client.host if request.client else "unknown"
    return Actor(visitor.name if visitor else "", f"{part} from {host}")


def require_workspace(console: Console) -> Workspace:
    """Return the console's workspace. Raises PageRefusedError: 409, it has none."""
    if console.sources.workspace is None:
        fix = "start the console in the workspace's folder, or use `prefixfleet promote` there"
        raise PageRefusedError(409, "a workspace, which has the policy of the rollout", "a console without one", fix)
    return console.sources.workspace


def get_console(request: Request) -> Console:
    """Return the console's parts."""
    console: Console = request.app.state.console
    return console


def get_open_view(request: Request) -> View:
    """Return a view that needs no login; its visitor is whoever has logged in."""
    console = get_console(request)
    return View(request, console, find_visitor(request))


def find_visitor(request: Request) -> Visitor | None:
    """Return who asks; None: somebody who must log in.

    Raises:
        PageRefusedError: 403, a console without keys is asked under another name than localhost.
        WorkspaceError: the keys cannot be read.
    """
    sessions = get_console(request).sessions
    if not sessions.needs_login():
        host = request.headers.get("host", "")
        if not is_loopback_host(host):
            fix = "use localhost, or create a key (`prefixfleet keys create --admin`)"
            raise PageRefusedError(403, "the host localhost (there are no API keys)", repr(host[:100]), fix)
        return Visitor(None)
    return sessions.find_visitor(request.cookies.get(COOKIE, ""))


def _get_reader(request: Request) -> View:
    view = get_open_view(request)
    if view.visitor is None:
        raise LoginNeededError
    return view


def _get_fleet_view(request: Request) -> View:
    view = _get_reader(request)
    if view.visitor is not None and view.visitor.tenant is not None:
        raise make_not_found_error("a page of your tenant")
    return view


def _get_tenant_view(request: Request, tenant: str) -> View:
    view = _get_reader(request)
    if view.visitor is None or not view.visitor.may_see(tenant) or not TENANT_ID.fullmatch(tenant):
        raise make_not_found_error("a tenant of this fleet")
    return view


def _get_operator_view(request: Request) -> View:
    view = _get_reader(request)
    if view.visitor is None or not view.visitor.may_change:
        fix = "log in with the key of an operator (`prefixfleet keys create --role operator`) or an admin"
        raise PageRefusedError(403, "an operator", "a visitor who may only read", fix)
    return view


OpenView = Annotated[View, Depends(get_open_view)]
"""For everybody, also before the login."""
CurrentView = Annotated[View, Depends(_get_fleet_view)]
"""For visitors who may read the whole fleet."""
TenantView = Annotated[View, Depends(_get_tenant_view)]
"""For visitors who may see the `tenant` in the path."""
OperatorView = Annotated[View, Depends(_get_operator_view)]
"""For operators and admins who have logged in."""
