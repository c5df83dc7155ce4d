"""The routes for whoever runs the server: health, readiness, metrics, refresh. Knows HTTP and the service."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from components.serving.errors import ErrorBody, RefusalError
from components.serving.http.routes import get_service
from components.serving.http.webhook import SECRET_VARIABLE, is_signed

router = APIRouter(
    tags=["Operations"], responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}}
)


@router.get("/healthz")
async def healthz(request: Request) -> dict[str, Any]:
    """Whether the process is alive, and how it is; `troubles` names what it goes on without."""
    return get_service(request).describe_health()


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, Any]:
    """200 where new requests are answered: the base is loaded, the registry was read, and the server is not ending."""
    service = get_service(request)
    service.check_ready()
    return service.describe_health()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, authorization: Annotated[str | None, Header()] = None) -> Response:
    """Prometheus's text format. It names tenants, so it asks for an admin's key unless serve.open_metrics is set."""
    service = get_service(request)
    if not service.params.serve.open_metrics:
        await service.authenticator.require_admin(authorization)
    return Response(service.metrics_page.render(), media_type=CONTENT_TYPE_LATEST)


@router.post("/admin/refresh")
async def refresh(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,
    x_mlflow_signature: Annotated[str | None, Header()] = None,
    x_mlflow_delivery_id: Annotated[str | None, Header()] = None,
    x_mlflow_timestamp: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Look at MLflow's aliases now. With an admin's key, or as a webhook of MLflow signed with its secret."""
    service = get_service(request)
    if x_mlflow_signature is not None:
        about = (x_mlflow_delivery_id or "", x_mlflow_timestamp or "", await request.body())
        if not service.webhook_secret or not is_signed(service.webhook_secret, x_mlflow_signature, *about):
            raise RefusalError(
                401, "a message signed by our MLflow", "another one", f"set {SECRET_VARIABLE} on the server"
            )
    else:
        await service.authenticator.require_admin(authorization)
    await service.fleet.refresh()
    return service.describe_health()
