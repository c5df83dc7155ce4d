"""The stages of one shard in a scratch workspace: restore, train, evaluate; every result is handed to the uploads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace

from components.data.dvc import DvcRemote
from components.data.remote_version import RemoteVersion
from components.otel.spans import open_span
from components.stages import evaluate, train
from components.stages.hooks import StageHooks
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.sharding.exchange_sets import (
    STATE_SET,
    TRAINED_SET,
    list_tenant_files,
    locate_tenant,
    make_evaluated_set,
)
from components.stages.sharding.heartbeats import Heartbeats
from components.stages.sharding.request import ShardRequest
from components.stages.sharding.restoring import restore_tenant
from components.stages.sharding.scratch_workspace import check_base
from components.stages.sharding.uploads import BackgroundUploads, Upload
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange

_THREADS = 8
"""That fetch tenants' data: each of their small files waits for the remote's answer."""


class ShardRun:
    """One run of a shard."""

    def __init__(
        self,
        request: ShardRequest,
        exchange: Exchange,
        workspace: Workspace,
        heartbeats: Heartbeats,
        uploads: BackgroundUploads,
        stop: Callable[[], bool],
    ) -> None:
        """Do nothing yet. `workspace` has the parameters, the data and the base of the request."""
        self._request, self._exchange, self._workspace = request, exchange, workspace
        self._heartbeats, self._uploads, self._stop = heartbeats, uploads, stop
        self._hooks = StageHooks(on_checkpoint=self._send_state, on_finished=self._send_results, stop=stop)

    def run(self) -> list[TenantOutcome]:
        """Return the outcomes of all tenants in training, then of those that passed it in evaluation."""
        with open_span("fetch data"):
            trained_before, outcomes = self._restore()
        if not self._stop():
            check_base(self._workspace, self._request.base)
            outcomes += self._train(trained_before, {one.tenant for one in outcomes})
        if not self._stop():
            outcomes += self._evaluate(outcomes)
        return outcomes

    def _restore(self) -> tuple[set[str], list[TenantOutcome]]:
        """Return the tenants that need no training any more, and the outcomes of those whose files are not usable."""
        dvc = self._request.dvc
        version = RemoteVersion(self._workspace.root, DvcRemote(dvc.remote, dvc.options))
        tenants = list(self._request.fingerprints)
        trained, failures = set[str](), list[TenantOutcome]()
        with ThreadPoolExecutor(_THREADS) as threads:
            fetches = [threads.submit(copy_context().run, version.fetch_tenant, tenant) for tenant in tenants]
            for tenant, fetch in zip(tenants, fetches, strict=True):
                with catch_failure(tenant, "train", failures):
                    self._hooks.check_stop(tenant)
                    fetch.result()
                    if restore_tenant(self._workspace, version, self._exchange, self._request, tenant):
                        trained.add(tenant)
            threads.shutdown(cancel_futures=True)  # after a stop
        return trained, failures

    def _train(self, trained_before: set[str], failed: set[str]) -> list[TenantOutcome]:
        self._heartbeats.set_activity("training")
        request = self._request
        fingerprints = {tenant: value for tenant, value in request.fingerprints.items() if tenant not in failed}
        reasons = {
            tenant: reason for tenant, reason in request.reasons.items() if tenant not in trained_before | failed
        }
        outcomes = train.train_planned(self._workspace, fingerprints, reasons, self._hooks)
        if self._stop():
            for one in outcomes:
                if one.state == "failed":
                    self._send_state(one.tenant)
        return [_mark_trained_before(one) if one.tenant in request.reasons else one for one in outcomes]

    def _evaluate(self, trained: list[TenantOutcome]) -> list[TenantOutcome]:
        self._heartbeats.set_activity("evaluating")
        ready = {one.tenant: self._request.fingerprints[one.tenant] for one in trained if one.state != "failed"}
        return evaluate.evaluate_shard(self._workspace, ready, self._request.champions, hooks=self._hooks)

    def _send_state(self, tenant: str, step: int | None = None) -> None:
        if step is not None:
            self._heartbeats.set_step(tenant, step)
        files = [name for name in self._list_files("train", tenant) if f"/{train.STATE_FOLDER}/" in name]
        if files:
            self._send(tenant, STATE_SET, files)

    def _send_results(self, outcome: TenantOutcome) -> None:
        tenant, stage = outcome.tenant, outcome.stage
        if outcome.state == "failed":
            return
        name = TRAINED_SET if stage == "train" else make_evaluated_set(self._request, tenant)
        self._send(tenant, name, self._list_files(stage, tenant))

    def _send(self, tenant: str, name: str, files: list[str]) -> None:
        target = self._exchange.open(*locate_tenant(tenant, self._request.run_keys[tenant]))
        upload = Upload(target, name, self._workspace.root / "out", files)
        instead_of = f"{tenant}: {STATE_SET}" if name == TRAINED_SET else ""
        self._uploads.add(f"{tenant}: {name}", upload, instead_of=instead_of)

    def _list_files(self, stage: str, tenant: str) -> list[str]:
        return list_tenant_files(self._workspace.root / "out", stage, tenant)


def _mark_trained_before(outcome: TenantOutcome) -> TenantOutcome:
    """A training that ended in an earlier try of the shard is one of this run, although nothing was left to do."""
    return (
        replace(outcome, state="done", detail="trained by an earlier worker") if outcome.state == "skipped" else outcome
    )
