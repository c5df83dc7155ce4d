"""The routes for operators: health, readiness, metrics, refresh. Knows HTTP and the service."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from components.serving.errors import ErrorBody, RefusalError
from components.serving.http.dependencies import get_service
from components.serving.http.webhook import SECRET_VARIABLE, is_signed

router = APIRouter(
    tags=["Operations"], responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}}
)


@router.get("/healthz")
async def healthz(request: Request) -> dict[str, Any]:
    """Report that the process is alive, and its state; `troubles` names the services that fail."""
    return get_service(request).describe_health()


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, Any]:
    """200 if new requests are answered: the base is loaded, the registry was read, no shutdown has begun. Else 503."""
    service = get_service(request)
    service.check_ready()
    return service.describe_health()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, authorization: Annotated[str | None, Header()] = None) -> Response:
    """Metrics in Prometheus's text format. Needs a key that sees all tenants, unless serve.open_metrics is set."""
    service = get_service(request)
    if not service.params.serve.open_metrics:
        await service.authenticator.require_role(authorization, "viewer", "operator")
    return Response(service.metrics_page.render(), media_type=CONTENT_TYPE_LATEST)


@router.post("/admin/refresh")
async def refresh(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,
    x_mlflow_signature: Annotated[str | None, Header()] = None,
    x_mlflow_delivery_id: Annotated[str | None, Header()] = None,
    x_mlflow_timestamp: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Read MLflow's aliases now. Needs an operator's or admin's key, or the signature of MLflow's webhook."""
    service = get_service(request)
    if x_mlflow_signature is not None:
        signed = (x_mlflow_delivery_id or "", x_mlflow_timestamp or "", await request.body())
        secret, now_s = service.webhook_secret, service.latest_clock()
        if not secret or not is_signed(secret, x_mlflow_signature, *signed, now_s=now_s):
            fix = f"set {SECRET_VARIABLE} on the server to the secret of MLflow's webhook"
            raise RefusalError(401, "a message signed with the webhook's secret", "an invalid signature", fix)
        if not service.webhook_deliveries.claim(x_mlflow_signature):
            raise RefusalError(409, "a delivery that has not been received", "a repeated delivery", "send a new one")
    else:
        await service.authenticator.require_role(authorization, "operator")
    try:
        await service.fleet.refresh()
    except BaseException:
        service.webhook_deliveries.release(x_mlflow_signature or "")
        raise
    return service.describe_health()
