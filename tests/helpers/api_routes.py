"""The endpoints of a FastAPI application, those of included routers too, which FastAPI keeps nested."""

from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute


def list_endpoints(app: Any) -> list[APIRoute]:
    """Return all endpoints; an application without any is an error, so that no test passes over nothing."""
    found = list(_walk(app.routes))
    assert found
    return found


def _walk(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _walk(route.original_router.routes)
