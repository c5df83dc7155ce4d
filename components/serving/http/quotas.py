"""How much a tenant may ask: requests and tokens a minute, as buckets that fill evenly. Knows no HTTP and no clock."""

from collections.abc import Callable
from dataclasses import dataclass

from components.config.serve import AccessConfig
from components.serving.errors import RefusalError


@dataclass(slots=True)
class TokenBucket:
    """Holds a minute's worth and fills evenly; what turns out to be more than was asked for may overdraw it."""

    per_minute: float
    level: float
    filled_s: float

    def compute_wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` may be taken, or a minute's worth where it is more; 0 where it may be now."""
        self.level = min(self.per_minute, self.level + (now_s - self.filled_s) * self.per_minute / 60)
        self.filled_s = now_s
        return max(0.0, (min(amount, self.per_minute) - self.level) * 60 / self.per_minute)


class Quotas:
    """Every tenant's buckets; to be used from one thread."""

    def __init__(self, access: Callable[[str], AccessConfig], clock: Callable[[], float]) -> None:
        """`access` says what a tenant may; `clock` gives seconds that never go back."""
        self._access, self._clock = access, clock
        self._buckets: dict[tuple[str, str], TokenBucket] = {}

    def admit(self, tenant: str, tokens: int) -> None:
        """Count a request and set aside what it may read and write at most; `settle` gives back what it did not.

        Raises:
            RefusalError: 429, the minute's requests or tokens are used up.
        """
        access = self._access(tenant)
        asked = (("requests", access.requests_per_minute, 1), ("tokens", access.tokens_per_minute, tokens))
        taken = []
        for what, limit, amount in asked:
            if limit is None:
                continue
            bucket = self._find_bucket(tenant, what, limit)
            if wait := bucket.compute_wait_s(amount, self._clock()):
                got = f"more; there is room again in {wait:.1f} s"
                wanted = f"at most {limit} {what} a minute of {tenant}"
                raise RefusalError(429, wanted, got, "wait, or ask for a larger quota", code="quota", retry_after=wait)
            taken.append((bucket, amount))
        for bucket, amount in taken:
            bucket.level -= amount

    def settle(self, tenant: str, reserved: int, used: int) -> None:
        """Count what a request has really read and written in place of what was set aside."""
        bucket = self._buckets.get((tenant, "tokens"))
        if bucket is not None:
            bucket.level += reserved - used

    def _find_bucket(self, tenant: str, what: str, limit: int) -> TokenBucket:
        return self._buckets.setdefault((tenant, what), TokenBucket(limit, limit, self._clock()))
