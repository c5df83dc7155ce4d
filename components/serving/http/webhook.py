"""Verify the signature of MLflow's webhooks, over id, time and payload, and accept each delivery once.

Source: mlflow.webhooks.delivery, signature version v1. Does not know HTTP.
"""

import hmac
from collections.abc import Callable

from components.access.signatures import sign_delivery

SECRET_VARIABLE = "PREFIXFLEET_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the secret of MLflow's webhook."""

_TOLERANCE_SECONDS = 300
_MAX_DELIVERIES = 10_000


def is_signed(secret: str, signature: str, delivery_id: str, timestamp: str, payload: bytes, *, now_s: float) -> bool:
    """Return whether the signature is valid and the message less than five minutes old at `now_s` (since 1970)."""
    expected = sign_delivery(secret.encode(), delivery_id, timestamp, payload).encode()
    is_fresh = timestamp.isdecimal() and abs(now_s - float(timestamp)) < _TOLERANCE_SECONDS
    return hmac.compare_digest(expected, signature.encode("utf-8", "surrogatepass")) and is_fresh


class DeliveryMemory:
    """The signatures of the deliveries that were accepted, until they are too old to be valid."""

    def __init__(self, timer: Callable[[], float], max_deliveries: int = _MAX_DELIVERIES) -> None:
        """`timer` gives monotonic seconds."""
        self._timer, self._max_deliveries = timer, max_deliveries
        self._expiries: dict[str, float] = {}
        """Signature -> when it is forgotten, the earliest first."""

    def claim(self, signature: str) -> bool:
        """Remember a valid signature; returns False if it was claimed before, or if too many are remembered."""
        now_s = self._timer()
        while self._expiries and next(iter(self._expiries.values())) <= now_s:
            del self._expiries[next(iter(self._expiries))]
        if signature in self._expiries or len(self._expiries) >= self._max_deliveries:
            return False
        self._expiries[signature] = now_s + 2 * _TOLERANCE_SECONDS  # its time may be in the future
        return True

    def release(self, signature: str) -> None:
        """Forget a delivery that could not be served, so that MLflow may send it again."""
        self._expiries.pop(signature, None)
