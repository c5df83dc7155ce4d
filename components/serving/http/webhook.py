"""Whether a message is MLflow's own: its signature over id, time and payload, as MLflow's webhooks send it.

Source: mlflow.webhooks.delivery, signature version v1. Knows no HTTP.
"""

import base64
import hashlib
import hmac
import time

SECRET_VARIABLE = "PREFIXFLEET_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the secret that MLflow's webhook was made with."""

_TOLERANCE_SECONDS = 300


def compute_signature(secret: str, delivery_id: str, timestamp: str, payload: bytes) -> str:
    """What MLflow writes into X-MLflow-Signature."""
    signed = f"{delivery_id}.{timestamp}.".encode() + payload
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def is_signed(secret: str, given: str, delivery_id: str, timestamp: str, payload: bytes) -> bool:
    """Whether the message is signed with the secret, and no older than five minutes."""
    right = compute_signature(secret, delivery_id, timestamp, payload).encode()
    fresh = timestamp.isdecimal() and abs(time.time() - float(timestamp)) < _TOLERANCE_SECONDS
    return hmac.compare_digest(right, given.encode("utf-8", "surrogatepass")) and fresh
