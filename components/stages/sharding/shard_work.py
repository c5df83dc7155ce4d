"""What a run has to send to workers: which tenants are ready, which wait, which are done. Knows no exchange.

A tenant is sent if it must be trained, or if its scores must be made again (another champion, other settings). A tenant
whose `train.shared` is trained in this run waits for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from components.config import WorkersConfig
from components.errors import TrainingError
from components.stages.evaluate import find_unscored
from components.stages.outcome import TenantOutcome
from components.stages.plan import Plan, PlanItem
from components.stages.progress import log_warning
from components.stages.sharding.cost import TrainingRates, estimate_operations
from components.stages.sharding.splitting import ShardPlan, split_by_cost
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.registry.mlflow.versions import Version


class ShardWork:
    """The tenants of a run that need work, and their outcomes."""

    def __init__(
        self, workspace: Workspace, planned: Plan, champions: "Mapping[str, Version]", rates: TrainingRates
    ) -> None:
        """Find the tenants whose scores must be made again. Decodes nothing and loads no model."""
        self._rates = rates
        trained = {item.tenant for item in planned.items}
        uncertain = {item.tenant for item in planned.skipped if item.train.shared in trained}
        standing = {item.tenant: item.fingerprint for item in planned.skipped if item.tenant not in uncertain}
        unscored, finished = find_unscored(workspace, standing, champions)
        wanted = uncertain.union(unscored)
        evaluated = [item for item in planned.skipped if item.tenant in wanted]
        self.items: dict[str, PlanItem] = {item.tenant: item for item in (*planned.items, *evaluated)}
        """Tenant -> its item, of the tenants that need work; without a reason, they are only evaluated."""
        self.outcomes: list[TenantOutcome] = [
            *(TenantOutcome(item.tenant, "train", "skipped") for item in planned.skipped if item.tenant not in wanted),
            *finished,
        ]
        self._open = dict.fromkeys(self.items)
        self._assigned: set[str] = set()
        self._trained_before: dict[str, TenantOutcome] = {}
        parameters = planned.base["parameters"]
        self.operations = {
            tenant: estimate_operations(workspace, item, parameters) for tenant, item in self.items.items()
        }

    @property
    def open_tenants(self) -> list[str]:
        """The tenants without an end: not done, not failed, not given up."""
        return list(self._open)

    def is_open(self, tenant: str) -> bool:
        """Return whether the tenant still needs work."""
        return tenant in self._open

    def list_ready(self) -> list[str]:
        """Return the open tenants that wait for no other and are in no shard."""
        return [tenant for tenant in self._open if tenant not in self._assigned and not self._is_waiting(tenant)]

    def split_ready(self, config: WorkersConfig) -> list[ShardPlan]:
        """Put all ready tenants into shards, the longest first."""
        ready = self.list_ready()
        seconds = {tenant: self._rates.estimate_seconds(self.operations[tenant]) for tenant in ready}
        known = {tenant: time for tenant, time in seconds.items() if time is not None}
        if len(known) == len(ready):
            shards = split_by_cost(known, config.target_minutes * 60, config.max_shards)
        else:
            costs = {tenant: self.operations[tenant] for tenant in ready}
            shards = split_by_cost(costs, None, config.max_shards)
        self.assign(ready)
        return shards

    def assign(self, tenants: Iterable[str]) -> None:
        """Note that these tenants are in a shard."""
        self._assigned.update(tenants)

    def mark_trained(self, tenant: str, outcome: TenantOutcome) -> None:
        """Note that the tenant's prefix is in out/train, so that it is only evaluated from now on."""
        self.items[tenant] = replace(self.items[tenant], reason="")
        self._trained_before[tenant] = outcome

    def finish(self, tenant: str, outcomes: Iterable[TenantOutcome]) -> None:
        """Take the tenant's outcomes; if its training failed, tenants that wait for it fail too."""
        if tenant not in self._open:
            return
        del self._open[tenant]
        taken = list(outcomes)
        if tenant in self._trained_before:
            taken = [self._trained_before[tenant], *(one for one in taken if one.stage != "train")]
        self.outcomes += taken
        if any(one.stage == "train" and one.state == "failed" for one in taken):
            for other in self._list_waiting_for(tenant):
                self.fail(other, self._make_shared_error(tenant, other))

    def fail(self, tenant: str, problem: Exception) -> None:
        """End a tenant with a failed training."""
        log_warning(f"{tenant}: not trained: {problem}")
        self.finish(tenant, [TenantOutcome(tenant, "train", "failed", str(problem))])

    def _is_waiting(self, tenant: str) -> bool:
        shared = self.items[tenant].train.shared
        return shared in self._open and bool(self.items[shared].reason)

    def _list_waiting_for(self, shared: str) -> list[str]:
        return [tenant for tenant in self._open if self.items[tenant].train.shared == shared]

    @staticmethod
    def _make_shared_error(shared: str, tenant: str) -> TrainingError:
        fix = f"solve the problem of {shared}, and run again"
        return TrainingError(
            f"the prefix of {shared}, which the prefix of {tenant} builds on", "a failed training", fix
        )
