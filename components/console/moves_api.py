"""A tenant's moves for programs, as JSON: which can be made now, and make one, by a key or token in the header.

The moves are those of the page `trial`. No form's token is needed: no browser sends the header by itself.
"""

import logging
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from components.config import TENANT_ID
from components.console.credentials import Caller
from components.console.refusals import PageRefusedError, find_status, make_not_found_error
from components.console.security import read_body
from components.console.sessions import Visitor
from components.console.view import Console, find_actor, get_console, require_workspace
from components.errors import PrefixFleetError
from components.rollout.store.tenant_state import read_state
from components.rollout.types import RolloutState
from components.stages.notifications import send_notifications
from components.stages.rollout.move_offers import OfferedMove, describe_situation, list_offers, make_offered_move
from components.stages.workspace import Workspace

_PATH = "/tenants/{tenant}/moves"
_LOGGER = logging.getLogger("prefixfleet")


class MoveRequest(BaseModel):
    """The move to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    move: OfferedMove
    situation: str | None = None
    """The `situation` of an answer: the move is made only if the tenant's versions are still those; None: in any."""


def build_moves_api(console: Console) -> FastAPI:
    """Return the application, to be mounted below the console."""
    api = FastAPI(openapi_url=None, redirect_slashes=False)
    api.state.console = console
    api.add_api_route(_PATH, _list_moves, methods=["GET"])
    api.add_api_route(_PATH, _make_move, methods=["POST"])
    _handle_errors(api)
    return api


def _list_moves(request: Request, tenant: str, caller: Caller) -> dict[str, Any]:
    """Return the tenant's versions, and each move with what it will do, or why it cannot be made."""
    workspace = _open_tenant(request, tenant, caller)
    return _describe(workspace, read_state(workspace.database, tenant))


async def _read_move(request: Request, tenant: str, caller: Caller) -> MoveRequest:
    if not caller.may_change:
        fix = "use the key of an operator or an admin, or a token with such a role"
        raise PageRefusedError(403, f"a key or token that may move {tenant}", f"the role {caller.role}", fix)
    try:
        return MoveRequest.model_validate_json(await read_body(request))
    except ValidationError as problems:
        first = problems.errors()[0]
        got = f"{'.'.join(str(part) for part in first['loc']) or 'the body'}: {first['msg']}"
        raise PageRefusedError(400, 'a move as JSON, such as {"move": "promote"}', got, "correct the body") from None


def _make_move(
    request: Request,
    tenant: str,
    caller: Caller,
    asked: Annotated[MoveRequest, Depends(_read_move)],
    later: BackgroundTasks,
) -> dict[str, Any]:
    """Make a move in the caller's name; return what was done, and the tenant's versions and moves afterwards."""
    console = get_console(request)
    console.sources.reload()
    workspace, by = _open_tenant(request, tenant, caller), find_actor(request, caller, "console's API")
    state = read_state(workspace.database, tenant)
    situation = describe_situation(state) if asked.situation is None else asked.situation
    done = make_offered_move(workspace, state, asked.move, situation, by)
    console.board.expire()
    later.add_task(send_notifications, workspace, None)
    return {"done": done, "by": by.name, **_describe(workspace, read_state(workspace.database, tenant))}


def _open_tenant(request: Request, tenant: str, caller: Visitor) -> Workspace:
    if not TENANT_ID.fullmatch(tenant) or not caller.may_see(tenant):
        raise make_not_found_error("a tenant of this fleet")
    workspace = require_workspace(get_console(request))
    if not workspace.registry.find_versions(tenant):
        raise make_not_found_error("a tenant with versions")
    return workspace


def _describe(workspace: Workspace, state: RolloutState) -> dict[str, Any]:
    return {
        "tenant": state.tenant,
        "champion": state.champion or None,
        "challenger": state.challenger or None,
        "situation": describe_situation(state),
        "moves": [
            {"move": one.move, "version": one.version or None, "does": one.sentence, "obstacle": one.obstacle or None}
            for one in list_offers(workspace, state)
        ],
    }


def _handle_errors(api: FastAPI) -> None:
    @api.exception_handler(PrefixFleetError)
    def handle_error(_request: Request, problem: PrefixFleetError) -> JSONResponse:
        status = find_status(problem)
        headers = {"www-authenticate": "Bearer"} if status == 401 else None
        return JSONResponse({"error": {"message": str(problem)}}, status, headers)

    @api.exception_handler(HTTPException)
    def handle_http_error(request: Request, problem: HTTPException) -> JSONResponse:
        got = f"{request.method} {request.url.path[:100]}"
        fix = "GET and POST of /console/api/tenants/TENANT/moves are there"
        refusal = PageRefusedError(problem.status_code, "a path of the console's API", got, fix)
        return handle_error(request, refusal)

    @api.exception_handler(Exception)
    def handle_fault(request: Request, problem: Exception) -> JSONResponse:
        _LOGGER.error("the console's API could not answer %s", request.url.path, exc_info=problem)
        return handle_error(request, PageRefusedError(500, "an answer", "a fault of the console", "see its log"))
