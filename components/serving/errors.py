"""What a caller is told when a request is not answered: OpenAI's error shape, our three beats in its message.

Knows errors and their HTTP statuses. What concerns the caller is told whole; what is the server's own trouble (paths,
addresses of services) goes to the log, and the caller hears that it is so.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from components.errors import (
    ArtifactError,
    BaseModelError,
    ConfigError,
    DataError,
    PrefixFleetError,
    RegistryError,
    WorkspaceError,
)
from components.serving.interface import BusyError

LOGGER_NAME = "prefixfleet.serving"
_SERVER_ERRORS = (ArtifactError, BaseModelError, RegistryError, WorkspaceError)
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class RefusalError(PrefixFleetError):
    """A request that is answered with an HTTP status of its own."""

    def __init__(
        self, status: int, wanted: str, got: str, fix: str, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(wanted, got, fix)
        self.status, self.code, self.retry_after = status, code, retry_after


class ErrorDetail(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What every answer with a status of 400 or more holds."""

    error: ErrorDetail


def make_unavailable_error(what: str, got: str) -> RefusalError:
    """503 for something that another try may have."""
    return RefusalError(503, what, got, "try again a little later", code="unavailable", retry_after=1)


def log_server_error(problem: Exception) -> None:
    """Write an error that is the server's own into its log, whole."""
    if isinstance(problem, _SERVER_ERRORS):
        logging.getLogger(LOGGER_NAME).error("%s: %s", type(problem).__name__, problem)
    elif to_refusal(problem).status == 500:
        logging.getLogger(LOGGER_NAME).error("%s", problem, exc_info=problem)


def to_refusal(problem: Exception) -> RefusalError:
    """What the caller is told of an error."""
    if isinstance(problem, RefusalError):
        return problem
    if isinstance(problem, BusyError):
        told = (problem.wanted, problem.got, problem.fix)
        return RefusalError(429, *told, code="busy", retry_after=problem.retry_after)
    if isinstance(problem, DataError | ConfigError):
        return RefusalError(400, problem.wanted, problem.got, problem.fix)
    if isinstance(problem, WorkspaceError):
        return make_unavailable_error(
            "the server's disk and database", "one that takes nothing now (the server's log says why)"
        )
    if isinstance(problem, _SERVER_ERRORS):
        return make_unavailable_error(
            "this version of the tenant", "none that can be loaded now (the server's log says why)"
        )
    return RefusalError(500, "an answer", "a fault of the server (its log says which)", "report it", code="fault")


def make_error_body(refusal: RefusalError) -> dict[str, Any]:
    """The refusal in OpenAI's shape."""
    kind = _ERROR_TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    message = str(refusal).encode("utf-8", "backslashreplace").decode()
    return ErrorBody(error=ErrorDetail(message=message, type=kind, code=refusal.code)).model_dump()


def make_error_response(refusal: RefusalError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The whole HTTP answer, with Retry-After in whole seconds where another try is worth it."""
    told = dict(headers or {})
    if refusal.retry_after is not None:
        told["retry-after"] = str(max(1, math.ceil(refusal.retry_after)))
    if refusal.status == 401:
        told["www-authenticate"] = "Bearer"
    return JSONResponse(make_error_body(refusal), refusal.status, told)
