"""Sends a signed request to a webhook's receiver, and says when to try again.

The form is that of Standard Webhooks (https://www.standardwebhooks.com), which OpenAI's webhooks have too.
"""

import base64
from collections.abc import Sequence

from components.access.signatures import sign_delivery
from components.errors import ConfigError

SECRET_START = "whsec_"  # noqa: S105 - not a secret
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
_TIMEOUT_S = 10.0


def parse_signing_key(text: str, where: str) -> bytes:
    """Return the key in `whsec_` and base64. `where` names its place. Raises ConfigError."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_START), validate=True)
    except ValueError:
        key = b""
    if not key or not text.startswith(SECRET_START):
        wanted = f"a key for {where}: {SECRET_START} and base64"
        fix = f"set it to {SECRET_START}$(openssl rand -base64 32), and give it to the receiver"
        raise ConfigError(wanted, "another text" if text else "none", fix)
    return key


def post_signed(url: str, keys: Sequence[bytes], delivery_id: str, payload: bytes, now_s: int) -> str:
    """Send a payload of JSON; return why the receiver did not accept it; "": it did. Redirects are not followed.

    It has a signature by each key, so a receiver may change from one key to another.
    """
    import httpx

    timestamp = str(now_s)
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(sign_delivery(key, delivery_id, timestamp, payload) for key in keys),
    }
    try:
        response = httpx.post(url, content=payload, headers=headers, timeout=_TIMEOUT_S)
    except httpx.TimeoutException:
        return f"no answer within {_TIMEOUT_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        return f"no answer ({type(problem).__name__})"
    return "" if response.is_success else f"status {response.status_code}"


def compute_pause_s(failures: int) -> float:
    """Return the seconds until the next try, after this number of failures in sequence: 5, 10, 20, at most an hour."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), _LONGEST_PAUSE_S)
