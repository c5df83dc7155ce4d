"""What routes take from a request: the parts of the server, and the caller whom `ApiRoute` has authenticated.

FastAPI runs a dependency that is not async in a thread, so all are.
"""

from typing import Annotated

from fastapi import Depends, Header, Request

from components.serving.http.auth import Caller
from components.serving.http.service import Service


def get_service(request: Request) -> Service:
    """Return the parts of the server."""
    service: Service = request.app.state.service
    return service


async def _provide_service(request: Request) -> Service:
    return get_service(request)


async def _provide_caller(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,  # noqa: ARG001 - for the page /docs
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDependency = Annotated[Caller, Depends(_provide_caller)]
ServiceDependency = Annotated[Service, Depends(_provide_service)]
