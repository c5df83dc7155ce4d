"""The start page: what needs attention, the table of all tenants, and the events that refresh them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from components.console.fleet.board import FleetBoard
from components.console.fleet.rows import FILTERS
from components.console.fleet.table import PAGE_SIZES, TableQuery, select_page
from components.console.refusals import LoginNeededError
from components.console.view import CurrentView, OpenView

router = APIRouter()

_FIRST_WAIT_S = 2.0
_LOOK_EVERY_S = 2.0
_STREAM_SECONDS = 300.0
"""After that the browser connects again, and its login is checked again."""


@router.get("/", response_model=None)
def show_fleet(
    view: OpenView, search: str = "", state: str = "", sort: str = "state", page: int = 1, size: int = 50
) -> Response:
    """Show the fleet; redirect a visitor with a tenant's key to the page of that tenant."""
    if view.visitor is None:
        raise LoginNeededError
    if view.visitor.tenant is not None:
        return RedirectResponse(f"{view.root}/tenants/{view.visitor.tenant}", 303)
    query = TableQuery(search[:200], state, sort, page, size)
    snapshot = view.console.board.get(_FIRST_WAIT_S)
    if snapshot is None:
        return view.render("fleet_wait.html")
    values: dict[str, Any] = {
        "snapshot": snapshot,
        "query": query,
        "table": select_page(snapshot, query),
        "filters": FILTERS,
        "sizes": PAGE_SIZES,
    }
    if view.request.headers.get("hx-target") == "fleet-table":
        return view.render("fleet_table.html", **values)
    return view.render("fleet.html", **values)


@router.get("/events", response_model=None)
async def stream_events(view: CurrentView, after: int = 0) -> Response:
    """Send the event `fleet` whenever there is a snapshot newer than number `after`."""
    return StreamingResponse(_watch(view.console.board, after), media_type="text/event-stream")


async def _watch(board: FleetBoard, number: int) -> AsyncIterator[str]:
    yield "retry: 5000\n\n"
    for _ in range(int(_STREAM_SECONDS / _LOOK_EVERY_S)):
        snapshot = board.get()
        if snapshot is not None and snapshot.number > number:
            number = snapshot.number
            yield f"event: fleet\ndata: {number}\n\n"
        await asyncio.sleep(_LOOK_EVERY_S)
