"""Signatures of webhooks' deliveries: HMAC-SHA256 over id, time and payload, in the form v1 of Standard Webhooks.

Source: https://www.standardwebhooks.com. MLflow's and OpenAI's webhooks have this form, with different keys.
"""

import base64
import hashlib
import hmac


def sign_delivery(key: bytes, delivery_id: str, timestamp: str, payload: bytes) -> str:
    """Return the signature; `timestamp` is in seconds since 1970."""
    signed = f"{delivery_id}.{timestamp}.".encode() + payload
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
