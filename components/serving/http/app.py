"""The application: routes behind the gate, errors in OpenAI's shape, and what goes on beside the requests.

Knows how the parts are put together for HTTP; does not know where they come from or how the process lives.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from components.errors import PrefixFleetError
from components.serving.errors import RefusalError, log_server_error, make_error_response, to_refusal
from components.serving.http import admin_routes, routes
from components.serving.http.middleware import AdmissionMiddleware
from components.serving.http.openai import CompletionRequest, FeedbackRequest
from components.serving.http.service import Service
from components.serving.http.validation import make_body_error

_DESCRIPTION = """Every tenant of one base, by OpenAI's completions protocol. `model` is a tenant, `tenant@champion`,
`tenant@challenger` or `tenant@<version>`; keys go into `Authorization: Bearer`. Answers say in `x-prefixfleet-*`
headers which version of which artifact on which base they come from."""


def build_app(service: Service) -> FastAPI:
    """Return the application of a service; its lifespan runs the background tasks."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = service.start_background_tasks()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await service.observation_buffer.flush()
            await service.engine.drain()

    app = FastAPIOffline(
        title="PrefixFleet",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # or Swagger's page sends the API's address to a public server
    )
    app.state.service = service
    app.include_router(routes.router)
    app.include_router(admin_routes.router)
    app.add_middleware(AdmissionMiddleware, service=service)

    @app.exception_handler(RequestValidationError)
    async def wrong_body(request: Request, problem: RequestValidationError) -> Response:
        model = FeedbackRequest if request.url.path.endswith("feedback") else CompletionRequest
        return _refused(request, make_body_error(problem.errors(), model, problem.body))

    @app.exception_handler(HTTPException)
    async def wrong_way(request: Request, problem: HTTPException) -> Response:
        asked = f"{request.method} {request.url.path[:100]}"
        allowed = (problem.headers or {}).get("Allow", "")
        if problem.status_code == 400:
            told = ("a body in JSON, in UTF-8", "one that cannot be read", "correct it")
            return _refused(request, RefusalError(400, *told, code="invalid_json"))
        fix = f"use {allowed}" if allowed else "see /docs"
        refusal = RefusalError(problem.status_code, "a request that the API knows", f"{asked}: {problem.detail}", fix)
        return _refused(request, refusal, {"allow": allowed} if allowed else {})

    @app.exception_handler(PrefixFleetError)
    @app.exception_handler(Exception)
    async def any_problem(request: Request, problem: Exception) -> Response:
        log_server_error(problem)
        return _refused(request, to_refusal(problem))

    def _refused(request: Request, refusal: RefusalError, headers: Mapping[str, str] | None = None) -> Response:
        service.metrics.refusals.labels(refusal.status).inc()
        return make_error_response(refusal, {"x-request-id": routes.get_request_id(request), **(headers or {})})

    return app
