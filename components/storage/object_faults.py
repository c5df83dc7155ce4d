"""What an error of an object store means: no such object, try again later, or a mistake that someone must correct.

Reads errors of fsspec's file systems by their HTTP status, code and type name, so that no client library is imported.
"""

import socket
from dataclasses import dataclass
from enum import Enum
from typing import Any

from components.storage.atomic_files import DISK_ERRNOS
from components.storage.urls import format_first_line, hide_password


class Meaning(Enum):
    """What to do about an error."""

    MISSING = "there is no such object"
    BUSY = "the store does not answer: try again"
    REFUSED = "the store refuses: someone must correct it"
    LOCAL = "a file or the disk of this machine"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of a store, for its users."""

    meaning: Meaning
    got: str
    fix: str


_BUSY_CODES = {
    *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeoutException"),
    *("Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted"),
    "NoSuchUpload",  # the store has forgotten a multipart upload: begin it again
}
_BUSY_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 507}
_BUSY_TYPES = {
    *("HTTPClientError", "EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"),
    *("IncompleteReadError", "ResponseParserError", "ResponseStreamingError", "FSTimeoutError"),
    *("ClientPayloadError", "ClientConnectionError", "ServerDisconnectedError", "IncompleteRead"),
}
_CERTIFICATE_TYPES = {"SSLError", "ClientConnectorCertificateError", "ClientSSLError"}
_CREDENTIAL_TYPES = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
_RIGHTS = "grant this machine's key the rights that docs/workers.md lists for the exchange"
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of this machine, and AWS_ENDPOINT_URL_S3 if it is not AWS"
_FIXES = {
    "NoSuchBucket": "create the bucket; or correct its name (workers.exchange in params.yaml), or AWS_ENDPOINT_URL_S3",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": "renew this machine's credentials",
    "RequestTimeTooSkewed": "set this machine's clock (its time differs from the store's by more than 15 minutes)",
    "PermanentRedirect": "set AWS_DEFAULT_REGION to the bucket's region",
    "AuthorizationHeaderMalformed": "set AWS_DEFAULT_REGION to the bucket's region",
}
_MAX_MESSAGE_LENGTH = 300
_BUSY_FIX = "check the store and the network, then start again: what is done is kept"


def read_fault(problem: Exception) -> Fault:
    """Return what an error of a store means."""
    names = {kind.__name__ for kind in type(problem).__mro__}
    code, status, message = _read_answer(problem)
    if code or status:
        return _read_refusal(problem, code, status, message)
    got = f"{type(problem).__name__}: {format_first_line(problem)}"
    if isinstance(problem, ImportError):
        return Fault(Meaning.REFUSED, got, "install the package that it names (gs:// needs gcsfs)")
    if names & _CREDENTIAL_TYPES:
        return Fault(Meaning.REFUSED, got, _KEYS)
    if names & _CERTIFICATE_TYPES:
        return Fault(Meaning.REFUSED, got, "set AWS_CA_BUNDLE to the authority's certificate")
    if names & _BUSY_TYPES or isinstance(problem, ConnectionError | TimeoutError | socket.gaierror):
        return Fault(Meaning.BUSY, got, _BUSY_FIX)
    if isinstance(problem, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return Fault(Meaning.MISSING, got, "write the object first")
    if isinstance(problem, OSError) and problem.errno in DISK_ERRNOS:
        return Fault(Meaning.LOCAL, problem.strerror or got, "free space on the disk or correct the permissions")
    return Fault(Meaning.REFUSED, got, "correct what it names, then start again")


def _read_answer(problem: Exception) -> tuple[str, int, str]:
    """Return code, HTTP status and message of the answer that an error holds; "", 0 and "": it holds none."""
    for each in (problem, problem.__cause__):
        response: Any = getattr(each, "response", None)  # of botocore's ClientError
        if isinstance(response, dict):
            error = response.get("Error", {})
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = str(error.get("Code", ""))
            return code, int(status or (code if code.isdigit() else 0)), str(error.get("Message", ""))
        if type(each).__name__ == "HttpError":  # gcsfs
            code = str(getattr(each, "code", ""))
            return "", int(code) if code.isdigit() else 0, str(getattr(each, "message", ""))
    return "", 0, ""


def _read_refusal(problem: Exception, code: str, status: int, message: str) -> Fault:
    got = " ".join(dict.fromkeys(each for each in (str(status or ""), code) if each))
    got = f"{got}: {hide_password(message[:_MAX_MESSAGE_LENGTH])}" if message else got
    if code in _BUSY_CODES or status in _BUSY_STATUSES:
        return Fault(Meaning.BUSY, got, _BUSY_FIX)
    if code in _FIXES:
        return Fault(Meaning.REFUSED, got, _FIXES[code])
    if status == 404 or isinstance(problem, FileNotFoundError):
        return Fault(Meaning.MISSING, got, "write the object first")
    return Fault(Meaning.REFUSED, got, _RIGHTS if status in (401, 403) else "correct what it names, then start again")
