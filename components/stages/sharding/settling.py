"""Places what workers made, tenant by tenant, and tells the run's work what is done. Does not know Prefect."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from components.errors import DamagedError, PrefixFleetError
from components.registry.mlflow.versions import Version
from components.stages.evaluate import find_unscored
from components.stages.outcome import TenantOutcome
from components.stages.progress import log_info, log_warning
from components.stages.sharding import transfer
from components.stages.sharding.exchange_sets import make_evaluated_set
from components.stages.sharding.request import ShardRequest
from components.stages.sharding.request_building import RequestBuilder
from components.stages.sharding.shard_work import ShardWork
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange

_THREADS = 8


class Settling:
    """Takes results from the exchange into the workspace and the work of one run."""

    def __init__(
        self,
        workspace: Workspace,
        exchange: Exchange,
        builder: RequestBuilder,
        work: ShardWork,
        champions: dict[str, Version],
    ) -> None:
        """Place nothing yet. `champions`: as at the beginning of the run."""
        self._workspace, self._exchange, self._builder = workspace, exchange, builder
        self._work, self._champions = work, champions
        self._base_digest: str = builder.facts["digest"]

    def take_ended(self, request: ShardRequest, outcomes: Iterable[TenantOutcome]) -> None:
        """Place the results of a shard that ended, and end its tenants; one whose files are not usable stays open."""
        of_tenant: dict[str, list[TenantOutcome]] = {}
        for one in outcomes:
            if self._work.is_open(one.tenant):
                of_tenant.setdefault(one.tenant, []).append(one)
        failed = [tenant for tenant, own in of_tenant.items() if own[0].state == "failed"]
        for tenant in failed:
            self._work.finish(tenant, of_tenant[tenant])
        passed = [tenant for tenant in of_tenant if tenant not in failed]
        placed = self._place_all(passed, lambda tenant: self._place(request, tenant, of_tenant[tenant]))
        for tenant, is_placed in placed.items():
            if is_placed:
                self._work.finish(tenant, of_tenant[tenant])

    def take_existing(self, tenants: Sequence[str]) -> None:
        """Place what earlier workers have finished of these tenants, and end those of which nothing is left to do.

        A tenant whose training is there and whose scores are not is only evaluated from now on.
        """
        found = self._place_all(tenants, self._place_existing)
        for tenant, was_trained in found.items():
            if was_trained and self._work.items[tenant].reason:
                log_info(f"{tenant}: was trained by a worker of an earlier run; its files are in the exchange")
                detail = "trained by a worker of an earlier run"
                self._work.mark_trained(tenant, TenantOutcome(tenant, "train", "done", detail))
        fingerprints = {tenant: self._work.items[tenant].fingerprint for tenant, trained in found.items() if trained}
        _, finished = find_unscored(self._workspace, fingerprints, self._champions)
        for one in finished:
            self._work.finish(one.tenant, [TenantOutcome(one.tenant, "train", "skipped"), one])

    def _place(self, request: ShardRequest, tenant: str, outcomes: Sequence[TenantOutcome]) -> bool:
        item, key = self._work.items[tenant], request.run_keys[tenant]
        if item.reason and not transfer.place_trained(self._workspace, self._exchange, item, key, self._base_digest):
            return False
        if any(one.stage == "evaluate" and one.state == "failed" for one in outcomes):
            return True
        name = make_evaluated_set(request, tenant)
        is_there = transfer.place_evaluated(self._workspace, self._exchange, tenant, key, name)
        return is_there or any(one.stage == "evaluate" and one.state == "skipped" for one in outcomes)

    def _place_existing(self, tenant: str) -> bool:
        """Return whether the tenant's training is done: it was before, or its files were in the exchange."""
        item = self._work.items[tenant]
        key = self._builder.make_run_key(item)
        if item.reason and not transfer.place_trained(self._workspace, self._exchange, item, key, self._base_digest):
            return False
        name = make_evaluated_set(self._builder.build([item], ""), tenant)
        transfer.place_evaluated(self._workspace, self._exchange, tenant, key, name)
        return True

    def _place_all(self, tenants: Sequence[str], place: Callable[[str], bool]) -> dict[str, bool]:
        """Return tenant -> result of `place`; False if its files are damaged. Another error ends the tenant."""

        def try_place(tenant: str) -> bool | PrefixFleetError:
            try:
                return place(tenant)
            except DamagedError as problem:
                log_warning(f"{tenant}: what a worker made is made again: {problem}")
                return False
            except PrefixFleetError as problem:
                return problem

        with ThreadPoolExecutor(_THREADS) as threads:
            results = dict(zip(tenants, threads.map(try_place, tenants), strict=True))
        for tenant, problem in results.items():
            if isinstance(problem, PrefixFleetError):
                self._work.fail(tenant, problem)
        return {tenant: result for tenant, result in results.items() if isinstance(result, bool)}
