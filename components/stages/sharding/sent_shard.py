"""A shard that was sent to a worker, as the parent sees it: the run's state, signs of life, and when it is given up.

All times are seconds of the parent's `ObservedClock`, so clocks of other machines do not matter. Knows no Prefect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from components.otel.span import NO_SPAN, Span
from components.stages.sharding.messages import Heartbeat
from components.stages.sharding.request import ShardRequest
from components.stages.sharding.splitting import ShardPlan

RunPhase = Literal["waiting", "starting", "running", "cancelling", "cancelled", "refused", "ended"]
"""waiting: no worker has taken it; starting: one has; refused: it said why it cannot train it; ended: any other end."""
TRAINING, STOPPED = "training", "stopped"
"""Activities in heartbeats: the worker trains; it was asked to stop, and has saved its states."""
_LARGEST_STEP_S = 10.0


class ObservedClock:
    """Counts the time in which the parent could see its shards.

    A pause of the parent, or a call that waited for a store or a server that was away, counts as a few seconds.
    """

    def __init__(self, read_monotonic: Callable[[], float]) -> None:
        """Begin at 0."""
        self._read, self._last_s, self.now_s = read_monotonic, read_monotonic(), 0.0

    def advance(self) -> float:
        """Take the time since the last call; return the seconds since the beginning."""
        present_s = self._read()
        self.now_s += min(present_s - self._last_s, _LARGEST_STEP_S)
        self._last_s = present_s
        return self.now_s


@dataclass
class SentShard:
    """One shard in one run of Prefect."""

    plan: ShardPlan
    request: ShardRequest
    run_id: str
    run_name: str
    changed_s: float
    """When the run or its worker last showed a change."""
    phase: RunPhase = "waiting"
    heartbeat: Heartbeat | None = None
    trains_since_s: float | None = None
    """When a heartbeat first said that this worker trains."""
    is_stopped: bool = False
    """Whether the worker was asked to stop, and did, while nobody cancelled the run."""
    told_s: float = 0.0
    """When the log last told about it."""
    span: Span = NO_SPAN
    """From its sending until it is settled."""

    @property
    def worker(self) -> str:
        """The worker's name; "" until its first heartbeat."""
        return self.heartbeat.worker if self.heartbeat else ""

    @property
    def is_taken(self) -> bool:
        """Whether a worker has it."""
        return self.phase != "waiting"

    def observe_phase(self, phase: RunPhase, now_s: float) -> None:
        """Take the run's phase."""
        told_to_stop = self.heartbeat is not None and self.heartbeat.activity == STOPPED
        self.is_stopped = told_to_stop and phase not in ("cancelling", "cancelled")
        if phase != self.phase:
            self.phase, self.changed_s = phase, now_s

    def observe_heartbeat(self, heartbeat: Heartbeat | None, now_s: float) -> bool:
        """Take the last heartbeat; return whether it is the first of a worker."""
        before = self.heartbeat
        if heartbeat is None or (before and (heartbeat.worker, heartbeat.counter) == (before.worker, before.counter)):
            return False
        self.heartbeat, self.changed_s = heartbeat, now_s
        is_new = before is None or before.worker != heartbeat.worker
        if is_new:
            self.trains_since_s = None
        if self.trains_since_s is None and heartbeat.activity == TRAINING:
            self.trains_since_s = now_s
        return is_new

    def is_lost(self, now_s: float, lost_s: float, start_s: float) -> bool:
        """Return whether the worker that has it shows no sign of life; `start_s` is allowed until its first one."""
        if self.phase in ("waiting", "ended", "refused", "cancelled"):
            return False
        return now_s - self.changed_s > (max(lost_s, start_s) if self.heartbeat is None else lost_s)
