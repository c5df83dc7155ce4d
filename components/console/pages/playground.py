"""Try a tenant: one input, several versions side by side, streamed from the running server."""

import os

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from components.console.asking.requests import TryForm, build_request
from components.console.asking.streams import stream_answer
from components.console.refusals import PageRefusedError
from components.console.sources import SERVER_KEY_VARIABLE
from components.console.view import TenantView
from components.registry.registry import CHALLENGER, CHAMPION, Version

router = APIRouter()

_VERSIONS_SHOWN = 12


@router.get("/tenants/{tenant}/try", response_model=None)
def show_playground(view: TenantView, tenant: str) -> Response:
    """Show the form; the champion and the challenger are chosen."""
    versions = view.sources.registry.find_versions(tenant)
    return view.render(
        "try.html",
        tenant=tenant,
        server=view.console.config.server,
        choices=_list_choices(versions[:_VERSIONS_SHOWN]) if any(one.aliases for one in versions) else [],
        form_token=view.console.sessions.make_form_token(view.session_id),
    )


@router.post("/tenants/{tenant}/try", response_model=None)
def ask(view: TenantView, tenant: str, form: TryForm) -> Response:
    """Stream one version's answer."""
    if view.visitor is None or not view.visitor.may_ask:
        raise PageRefusedError(403, "a visitor who may ask versions", "a viewer", "log in with an operator's key")
    server = view.console.config.server
    if not server:
        fix = "start `prefixfleet serve` and set console.server, for example to http://127.0.0.1:8000"
        raise PageRefusedError(409, "a running server", "no console.server in the settings", fix)
    request = build_request(tenant, form)
    events = stream_answer(server.rstrip("/"), os.environ.get(SERVER_KEY_VARIABLE, ""), request)
    return StreamingResponse(events, media_type="text/event-stream")


def _list_choices(versions: list[Version]) -> list[dict[str, object]]:
    """Return the versions to choose from, and the base alone."""
    choices: list[dict[str, object]] = [
        {
            "value": one.version,
            "label": f"version {one.version}" + (f" ({', '.join(one.aliases)})" if one.aliases else ""),
            "is_chosen": bool({CHAMPION, CHALLENGER} & set(one.aliases)),
        }
        for one in versions
    ]
    return [*choices, {"value": "base", "label": "the base alone", "is_chosen": False}]
