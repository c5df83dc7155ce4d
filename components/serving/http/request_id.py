"""The id of a request, which its answer, its errors and its log lines name."""

import re
import secrets

from fastapi import Request

_REQUEST_ID_PATTERN = re.compile(r"[\x21-\x7e]{1,200}")


def find_sent_request_id(request: Request) -> str | None:
    """Return the client's x-request-id, or None if there is no valid one."""
    sent = request.headers.get("x-request-id", "")
    return sent if _REQUEST_ID_PATTERN.fullmatch(sent) else None


def get_request_id(request: Request) -> str:
    """Return the client's x-request-id, or a new one, which stays the same for this request."""
    known = request.scope.setdefault("state", {})
    if "request_id" not in known:
        known["request_id"] = find_sent_request_id(request) or secrets.token_hex(12)
    return str(known["request_id"])
