"""Verify the signature of MLflow's webhooks, over id, time and payload.

Source: mlflow.webhooks.delivery, signature version v1. Does not know HTTP.
"""

import base64
import hashlib
import hmac

SECRET_VARIABLE = "PREFIXFLEET_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the secret of MLflow's webhook."""

_TOLERANCE_SECONDS = 300


def compute_signature(secret: str, delivery_id: str, timestamp: str, payload: bytes) -> str:
    """Return the value of MLflow's X-MLflow-Signature header."""
    signed = f"{delivery_id}.{timestamp}.".encode() + payload
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def is_signed(secret: str, signature: str, delivery_id: str, timestamp: str, payload: bytes, *, now_s: float) -> bool:
    """Return whether the signature is valid and the message less than five minutes old at `now_s` (since 1970)."""
    expected = compute_signature(secret, delivery_id, timestamp, payload).encode()
    is_fresh = timestamp.isdecimal() and abs(now_s - float(timestamp)) < _TOLERANCE_SECONDS
    return hmac.compare_digest(expected, signature.encode("utf-8", "surrogatepass")) and is_fresh
