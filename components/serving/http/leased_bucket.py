"""One tenant's quota of one unit at one server: what is leased of the bucket that all servers share.

While the database fails, the server's own share of the quota counts instead. Knows no database and no HTTP; the time,
in monotonic seconds, is passed in.
"""

from asyncio import Future
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from components.rollout.store.quota_leases import ROUNDING, Lease, LeaseRequest, QuotaKey

LEASED_PART = 0.04
"""Of a minute's quota: the most that all servers together hold without using it. So far may the quota be exceeded."""
_MAX_PARTS = 2
"""How many times what is leased ahead a server keeps of what requests reserved and did not use."""
_STALE_SECONDS = 1.0
"""How long the bucket's last known level decides that a request is refused without a question to the database."""
_DRY_SECONDS = 0.2
"""How long no one asks the database after the bucket was found empty."""

Waiting = Sequence[tuple[float, "Future[float]"]]
"""Amounts that requests wait for; each future gets the seconds to wait, 0: the amount was taken."""


@dataclass(slots=True)
class TokenBucket:
    """A bucket that holds one minute's quota and refills evenly; its level may be negative."""

    per_minute: float
    level: float
    filled_s: float
    """When the level was last computed."""
    spent: float = 0.0

    def compute_wait_s(self, amount: float, now_s: float) -> float:
        """Return the seconds until `amount` (at most one minute's quota) is available; 0: it is available now."""
        self.level = min(self.per_minute, self.level + (now_s - self.filled_s) * self.per_minute / 60)
        self.filled_s = now_s
        return max(0.0, (min(amount, self.per_minute) - self.level) * 60 / self.per_minute)

    def spend(self, amount: float) -> None:
        """Take an amount; negative: give it back."""
        self.level -= amount
        self.spent += amount


@dataclass(slots=True)
class LeasedBucket:
    """A lease, the requests that wait for more of it, and what is known of the shared bucket."""

    key: QuotaKey
    per_minute: float
    balance: float = 0.0
    """What is leased and not used; negative: what was used beyond it."""
    used_s: float = 0.0
    """When it was last used."""
    level: float | None = None
    """Of the shared bucket, when it was last asked; None: it was not asked yet."""
    asked_s: float = 0.0
    dry_until_s: float = 0.0
    waiting: "deque[tuple[float, Future[float]]]" = field(default_factory=deque)
    """Requests that the database was not asked for yet."""
    own_share: TokenBucket | None = None
    """While the database fails."""
    part: float = 0.0
    """What is leased ahead."""

    def try_take(self, amount: float, now_s: float) -> float | None:
        """Take an amount that is leased and return 0, or the seconds to wait; None: the database must be asked."""
        self.used_s = now_s
        if self.own_share is not None:
            wait_s = self.own_share.compute_wait_s(amount, now_s)
            if not wait_s:
                self.own_share.spend(amount)
            return wait_s
        if not self.waiting and self.balance >= amount - ROUNDING:
            self.balance -= amount
            return 0.0
        return self._estimate_wait_s(amount, now_s) or None

    def give_back(self, amount: float) -> None:
        """Put back what a request took and did not use; negative: it used more."""
        if self.own_share is not None:
            self.own_share.spend(-amount)
        else:
            self.balance += amount

    def make_request(self, now_s: float, *, is_idle: bool) -> tuple[LeaseRequest, Waiting] | None:
        """Return what to ask of the shared bucket and the requests that wait for it, or None if nothing is due.

        What is given back is no longer leased from now on; a bucket that is idle gives all back.
        """
        served = self._pop_waiting()
        kept = 0.0 if is_idle else _MAX_PARTS * self.part
        owed = -min(self.balance, 0.0) if served else -min(self.balance, max(0.0, self.balance - kept))
        self.balance += owed
        request = LeaseRequest(key=self.key, per_minute=self.per_minute, owed=owed)
        if not served:
            ahead = self.part - self.balance if self.is_low(now_s) and not is_idle else 0.0
            return (replace(request, wanted=ahead), ()) if owed or ahead else None
        amounts = [amount for amount, _ in served]
        return replace(
            request,
            wanted=sum(amounts) + self.part - self.balance,
            needed=min(*amounts, self.per_minute) - self.balance,
            least=min(amounts) - self.balance,
        ), served

    def owes_or_hoards(self) -> bool:
        """Return whether more was used than is leased, or so little that some is given back."""
        return not -ROUNDING <= self.balance <= _MAX_PARTS * self.part

    def is_low(self, now_s: float) -> bool:
        """Return whether more should be leased ahead, before a request needs it."""
        return self.part >= 1 and self.balance < self.part / 2 and now_s >= self.dry_until_s

    def apply(self, request: LeaseRequest, served: Waiting, lease: Lease, now_s: float) -> None:
        """Add a lease, and give it to the requests that wait for it, in their order."""
        self.balance += lease.taken
        self.level, self.asked_s = lease.level, now_s
        if lease.taken < request.wanted and lease.level < self.per_minute / 60 * _DRY_SECONDS:
            self.dry_until_s = now_s + _DRY_SECONDS
        for amount, future in served:
            if future.done():
                continue
            if self.balance >= amount - ROUNDING:
                self.balance -= amount
                future.set_result(0.0)
            else:
                future.set_result(self._estimate_wait_s(amount, now_s) or _DRY_SECONDS)

    def start_own_share(self, servers: int, now_s: float) -> None:
        """Count the server's own share of the quota from now on, beginning with what is known to be left of it."""
        if self.own_share is None:
            share = self.per_minute / servers
            left = share if self.level is None else self.balance + self._estimate_level(now_s) / servers
            self.own_share = TokenBucket(share, min(share, left), now_s)

    def end_own_share(self, now_s: float) -> None:
        """Count leases again; what the share lacks is owed."""
        share, self.own_share = self.own_share, None
        if share is not None:
            share.compute_wait_s(0, now_s)
            self.balance -= min(share.spent, max(0.0, share.per_minute - share.level))

    def _pop_waiting(self) -> Waiting:
        """Take the requests that wait and whose clients do too; one for more than a minute's quota is served alone."""
        self.waiting = deque(one for one in self.waiting if not one[1].done())
        served: list[tuple[float, Future[float]]] = []
        while self.waiting and (not served or self.waiting[0][0] <= self.per_minute):
            served.append(self.waiting.popleft())
            if served[-1][0] > self.per_minute:
                break
        return served

    def pop_all(self) -> Waiting:
        """Take all requests that wait."""
        waiting, self.waiting = self.waiting, deque()
        return list(waiting)

    def _estimate_level(self, now_s: float) -> float:
        level = self.per_minute if self.level is None else self.level
        return min(self.per_minute, level + (now_s - self.asked_s) * self.per_minute / 60)

    def _estimate_wait_s(self, amount: float, now_s: float) -> float:
        """Return the seconds until the shared bucket may have the amount; 0: it may have it now, or is not known."""
        if self.level is None:
            return 0.0
        short = min(amount, self.per_minute) - ROUNDING - self.balance - self._estimate_level(now_s)
        wait_s = max(short * 60 / self.per_minute, self.dry_until_s - now_s)
        return wait_s if wait_s > 0 and now_s - self.asked_s < _STALE_SECONDS else 0.0
