"""The plugin's orders as requests to vLLM, and what comes back. Knows bodies and statuses; opens no connection."""

from collections.abc import Mapping
from typing import Any

import httpx

from components.errors import PrefixFleetError
from components.serving.remote.request_body import KEY
from components.serving.remote.server_errors import BrokenReplyError, ServerDownError, read_error, read_load_error


def make_order(order: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body of the request that carries an order."""
    return {"prompt": [0], "max_tokens": 1, "kv_transfer_params": {KEY: order}}


def read_reply(url: str, response: httpx.Response) -> Mapping[str, Any]:
    """Return the plugin's reply to an order. Raises PrefixFleetError: the response has none."""
    if response.status_code != httpx.codes.OK:
        raise read_refusal(response.status_code, response.content)
    try:
        reply: Mapping[str, Any] = response.json()["kv_transfer_params"][KEY]
    except (ValueError, KeyError, TypeError) as problem:
        raise BrokenReplyError(f"{url} answered an order with {response.text[:200]!r}") from problem
    return reply


def check_loaded(reply: Mapping[str, Any]) -> None:
    """Raise the error that `read_load_error` makes if the reply to an order to load says that it failed."""
    if not reply.get("loaded"):
        raise read_load_error(str(reply.get("kind")), str(reply.get("error")))


def read_refusal(status: int, content: bytes) -> PrefixFleetError:
    """Return the error of a response with another status than 200."""
    if status in (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT):
        return ServerDownError(f"status {status}")
    try:
        error = httpx.Response(status, content=content).json()["error"]
    except (ValueError, KeyError, TypeError):
        return BrokenReplyError(f"status {status}: {content[:200]!r}")
    return read_error(error)
