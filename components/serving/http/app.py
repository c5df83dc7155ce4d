"""The FastAPI application: routes, middleware, error handlers, and background tasks in its lifespan.

Knows the service and HTTP; does not know how the parts are built or how the process starts and stops.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from components.errors import PrefixFleetError
from components.otel.metrics import PeriodicMetrics
from components.otel.switch import wants_spans
from components.serving.errors import RefusalError, log_server_error, make_error_response, to_refusal
from components.serving.http import admin_routes, file_routes, fine_tuning_routes, routes, usage_routes
from components.serving.http.middleware import AdmissionMiddleware
from components.serving.http.openai import CompletionRequest, FeedbackRequest
from components.serving.http.openai_chat import ChatRequest
from components.serving.http.openai_fine_tuning import JOBS_PATH, JobRequest
from components.serving.http.request_id import get_request_id
from components.serving.http.request_span import RequestSpanMiddleware
from components.serving.http.service import Service
from components.serving.http.unknown_paths import suggest_path
from components.serving.http.validation import make_body_error, make_query_error

_BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/feedback": FeedbackRequest,
    JOBS_PATH: JobRequest,
}
_DESCRIPTION = """All tenants of one base, through OpenAI's protocol. `model` is a tenant,
`tenant@champion`, `tenant@challenger` or `tenant@<version>`. Send the API key as `Authorization: Bearer <key>`. The
`x-prefixfleet-*` headers of an answer name its tenant, version, artifact and base."""


def build_app(service: Service) -> FastAPI:
    """Return the application of a service; its lifespan runs the background tasks."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = service.start_background_tasks()
        try:
            with PeriodicMetrics(service.metrics_page.collect):
                yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await service.observation_buffer.flush()
            await service.answer_sharing.flush()
            await service.quotas.close()
            await service.engine.drain()
            await service.usage_buffer.flush()

    app = FastAPIOffline(
        title="PrefixFleet",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client sent
        swagger_ui_parameters={"validatorUrl": None},  # or Swagger's page sends the API's address to a public server
    )
    app.state.service = service
    app.include_router(routes.router)
    app.include_router(file_routes.router)
    app.include_router(fine_tuning_routes.router)
    app.include_router(usage_routes.router)
    app.include_router(admin_routes.router)
    app.add_middleware(AdmissionMiddleware, service=service)
    if wants_spans():
        app.add_middleware(RequestSpanMiddleware)

    @app.exception_handler(RequestValidationError)
    async def handle_invalid_body(request: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        if first["loc"][:1] == ("query",):
            return refuse(request, make_query_error(first))
        model = _BODIES.get(request.url.path, CompletionRequest)
        return refuse(request, make_body_error(problem.errors(), model, problem.body))

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, problem: HTTPException) -> Response:
        if problem.status_code == 400:
            beats = "a body in JSON, encoded as UTF-8", "a body that cannot be decoded", "correct the body"
            return refuse(request, RefusalError(400, *beats, code="invalid_json"))
        allowed = (problem.headers or {}).get("Allow", "")
        got = f"{request.method} {request.url.path[:100]}: {problem.detail}"
        fix = f"use {allowed}" if allowed else suggest_path(request.url.path, list(app.openapi()["paths"]))
        refusal = RefusalError(problem.status_code, "a method and path of the API", got, fix)
        return refuse(request, refusal, {"allow": allowed.replace("GET", "GET, HEAD")} if allowed else {})

    @app.exception_handler(PrefixFleetError)
    @app.exception_handler(Exception)
    async def handle_error(request: Request, problem: Exception) -> Response:
        log_server_error(problem)
        return refuse(request, to_refusal(problem))

    def refuse(request: Request, refusal: RefusalError, headers: Mapping[str, str] | None = None) -> Response:
        service.metrics.refusals.labels(refusal.status).inc()
        return make_error_response(refusal, {"x-request-id": get_request_id(request), **(headers or {})})

    return app
