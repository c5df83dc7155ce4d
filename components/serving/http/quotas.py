"""Rate limits: requests and tokens per minute of each tenant, as token buckets.

Does not know HTTP; the clock is passed in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from components.config.serve import AccessConfig
from components.serving.errors import RefusalError


@dataclass(slots=True)
class TokenBucket:
    """A bucket that holds one minute's quota and refills evenly; its level may be negative after `settle`."""

    per_minute: float
    level: float
    filled_s: float
    """When the level was last computed."""

    def compute_wait_s(self, amount: float, now_s: float) -> float:
        """Return the seconds until `amount` (at most one minute's quota) is available; 0: it is available now."""
        self.level = min(self.per_minute, self.level + (now_s - self.filled_s) * self.per_minute / 60)
        self.filled_s = now_s
        return max(0.0, (min(amount, self.per_minute) - self.level) * 60 / self.per_minute)


class Quotas:
    """The buckets of all tenants; use it from one thread."""

    def __init__(self, access: Callable[[str], AccessConfig], clock: Callable[[], float]) -> None:
        """`access` returns a tenant's limits; `clock` gives monotonic seconds."""
        self._access, self._clock = access, clock
        self._buckets: dict[tuple[str, str], TokenBucket] = {}

    def admit(self, tenant: str, tokens: int, requests: int = 1) -> None:
        """Take the requests and `tokens` from the tenant's buckets, or nothing if one of them is too low.

        `tokens` is the most that the request may use; `settle` gives the unused ones back.

        Raises:
            RefusalError: 429, the quota of requests or tokens is used up.
        """
        access = self._access(tenant)
        amounts = (("requests", access.requests_per_minute, requests), ("tokens", access.tokens_per_minute, tokens))
        takes = []
        for unit, limit, amount in amounts:
            if limit is None:
                continue
            bucket = self._get_bucket(tenant, unit, limit)
            if wait_s := bucket.compute_wait_s(amount, self._clock()):
                wanted, got = f"at most {limit} {unit} per minute of {tenant}", "a quota that is used up"
                fix = f"retry in {wait_s:.1f} s, or ask your operator for a larger quota"
                raise RefusalError(429, wanted, got, fix, code="quota", retry_after=wait_s)
            takes.append((bucket, amount))
        for bucket, amount in takes:
            bucket.level -= amount

    def settle(self, tenant: str, reserved: int, used: int) -> None:
        """Charge the `used` tokens of a request in place of the `reserved` ones."""
        bucket = self._buckets.get((tenant, "tokens"))
        if bucket is not None:
            bucket.level += reserved - used

    def _get_bucket(self, tenant: str, unit: str, limit: int) -> TokenBucket:
        return self._buckets.setdefault((tenant, unit), TokenBucket(limit, limit, self._clock()))
