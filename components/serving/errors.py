"""Turn errors into HTTP errors: OpenAI's shape, with our three beats as the message.

Knows errors and their HTTP statuses. Errors in a request are sent to the client in full. Errors of the server, which
name paths and addresses, go to the log; the client gets a general message.
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
SERVER_ERRORS = (ArtifactError, BaseModelError, RegistryError, WorkspaceError)
"""Errors that the request did not cause; those of the registry or a disk do not count against a version."""
_REPAIR_S = 60
"""Seconds until a client may ask again for a version that a person has to repair."""
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

INSUFFICIENT_QUOTA = "insufficient_quota"
"""OpenAI's code and type of a 429 after which a client should not try again."""
_MAX_MESSAGE_CHARS = 2000


class RefusalError(PrefixFleetError):
    """A request that is refused with the HTTP status `status`; `retry_after` is in seconds."""

    def __init__(
        self, status: int, wanted: str, got: str, fix: str, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(wanted, got, fix)
        self.status, self.code, self.retry_after = status, code, retry_after


class UnsupportedRequestError(ConfigError):
    """The engine cannot answer a request with these settings; one of another kind can."""


class UnsupportedArtifactError(ArtifactError):
    """The engine cannot answer with this artifact; one of another kind can."""


class ErrorDetail(BaseModel):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every response with a status of 400 or more."""

    error: ErrorDetail


def make_unavailable_error(wanted: str, got: str) -> RefusalError:
    """Return a 503 that asks the client to retry."""
    return RefusalError(503, wanted, got, "try again later", code="unavailable", retry_after=1)


def log_server_error(problem: Exception) -> None:
    """Log an error of the server in full; do nothing for an error of the client.

    The log leaves out repetitions of the same text, which come with every request while a service is away.
    """
    if isinstance(problem, SERVER_ERRORS):
        logging.getLogger(f"{LOGGER_NAME}.services").error(f"{type(problem).__name__}: {problem}")
    elif to_refusal(problem).status == 500:
        logging.getLogger(LOGGER_NAME).error("an internal error: %s", type(problem).__name__, exc_info=problem)


def to_refusal(problem: Exception) -> RefusalError:
    """Return what the client is told of an error."""
    if isinstance(problem, RefusalError):
        return problem
    if isinstance(problem, BusyError):
        beats = problem.wanted, problem.got, problem.fix
        return RefusalError(429, *beats, code="busy", retry_after=problem.retry_after)
    if isinstance(problem, DataError | ConfigError):
        return RefusalError(400, problem.wanted, problem.got, problem.fix)
    if isinstance(problem, WorkspaceError):
        return make_unavailable_error("the server's disk and database", "an error (the server's log has the details)")
    if isinstance(problem, UnsupportedArtifactError):
        got = "one that they cannot (the server's log says why)"
        fix = "the operator must choose another version (`prefixfleet promote`), or set serve.fallback: local"
        wanted = "a version that this server's engines can answer with"
        return RefusalError(503, wanted, got, fix, code="unusable_version", retry_after=_REPAIR_S)
    if isinstance(problem, ArtifactError | BaseModelError):
        got = "files that are missing, damaged or of another base (the server's log has the details)"
        fix = "the operator must restore its files, or choose another version (`prefixfleet promote`)"
        return RefusalError(503, "the tenant's version", got, fix, code="unusable_version", retry_after=_REPAIR_S)
    if isinstance(problem, SERVER_ERRORS):
        return make_unavailable_error("the tenant's version", "a loading error (the server's log has the details)")
    return RefusalError(
        500, "an answer", "an internal error (the server's log has the details)", "report it", code="fault"
    )


def make_error_body(refusal: RefusalError) -> dict[str, Any]:
    """Return the refusal in OpenAI's shape."""
    kind = _ERROR_TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    kind = INSUFFICIENT_QUOTA if refusal.code == INSUFFICIENT_QUOTA else kind
    message = str(refusal).encode("utf-8", "backslashreplace").decode()
    if len(message) > _MAX_MESSAGE_CHARS:
        message = f"{message[: _MAX_MESSAGE_CHARS - 3]}..."
    return ErrorBody(error=ErrorDetail(message=message, type=kind, code=refusal.code)).model_dump()


def make_error_response(refusal: RefusalError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the HTTP response, with Retry-After in whole seconds if a retry may succeed."""
    all_headers = dict(headers or {})
    if refusal.retry_after is not None:
        all_headers["retry-after"] = str(max(1, math.ceil(refusal.retry_after)))
    if refusal.code == INSUFFICIENT_QUOTA:
        all_headers["x-should-retry"] = "false"  # OpenAI's clients would ask again at once
    if refusal.status == 401:
        all_headers["www-authenticate"] = "Bearer"
    return JSONResponse(make_error_body(refusal), refusal.status, all_headers)
