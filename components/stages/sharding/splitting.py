"""How tenants are divided into shards, and what is sent instead of a shard whose worker ended by force. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace
from math import ceil


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Tenants that are trained together on one worker."""

    tenants: tuple[str, ...]
    losses: int = 0
    """Workers that ended by force while they had exactly these tenants."""
    divisions: int = 0
    """How often the shard was divided because workers ended: 0 whole, 1 a half, 2 one tenant alone."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A tenant that ended every worker that it was given to, also alone."""

    tenant: str


def split_by_cost(costs: Mapping[str, float], target: float | None, max_shards: int) -> list[ShardPlan]:
    """Divide tenants into shards of about `target` each, the longest first onto the least loaded shard.

    `costs` are in the unit of `target`. If `target` is None, because no time is known yet, there are `max_shards`
    shards, or one per tenant if there are fewer tenants.

    Returns:
        The shards, the longest first; the tenants of a shard in the order of `costs`.

    """
    if not costs:
        return []
    wanted = max_shards if target is None else ceil(sum(costs.values()) / target)
    count = max(1, min(wanted, len(costs)))
    loads = [(0.0, number) for number in range(count)]
    heapify(loads)
    groups: list[set[str]] = [set() for _ in loads]
    for tenant in sorted(costs, key=lambda tenant: (-costs[tenant], tenant)):
        load, number = loads[0]
        groups[number].add(tenant)
        heapreplace(loads, (load + costs[tenant], number))
    longest_first = sorted(loads, key=lambda load: (-load[0], load[1]))
    shards = [tuple(tenant for tenant in costs if tenant in groups[number]) for _, number in longest_first]
    return [ShardPlan(tenants) for tenants in shards if tenants]


def divide_after_loss(shard: ShardPlan, tries: int) -> list[ShardPlan | GivenUp]:
    """Return what is sent instead of a shard whose worker ended by force: the machine died, or memory was short.

    The same shard again, until `tries` workers have ended; then its two halves; then each tenant alone; then the tenant
    is given up. Each of these has its own `tries`.
    """
    if shard.losses + 1 < tries:
        return [replace(shard, losses=shard.losses + 1)]
    if len(shard.tenants) == 1:
        return [GivenUp(shard.tenants[0])]
    middle = 1 if shard.divisions else ceil(len(shard.tenants) / 2)
    return [ShardPlan(part, divisions=shard.divisions + 1) for part in _cut(shard.tenants, middle)]


def _cut(tenants: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(tenants[start : start + size]) for start in range(0, len(tenants), size)]
