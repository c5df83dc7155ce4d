"""The flow of a worker: train and evaluate one shard of a fleet, and send back what was made.

Takes two texts and needs no folder of the parent. A thread watches Prefect: the work ends within seconds if this run or
its parent is cancelled, or if the worker process that started it is gone.
"""

import contextvars
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import httpx
from prefect import flow, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Failed
from pydantic import ValidationError

from components.errors import PrefixFleetError
from components.otel.spans import begin_telemetry
from components.stages.outcome import TenantOutcome
from components.stages.progress import join_abbreviated, log_info, log_warning
from components.stages.sharding.exchange_sets import locate_shard
from components.stages.sharding.messages import HEARTBEAT, Heartbeat
from components.stages.sharding.sent_shard import STOPPED
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore
from flows.environment import prepare_environment
from flows.states import make_end_state
from flows.worker_pool import REFUSED, SHARD_FLOW
from flows.worker_process import find_home

_WATCH_S = 2.0
_PARENT_WATCHES = 5
"""The parent's run is looked at every this many times: a fleet of workers asks the server for little."""
_TELL_PATIENCE_S = 5.0
_STOP_STATES = (StateType.CANCELLING, StateType.CANCELLED, StateType.CRASHED, StateType.FAILED)


@flow(name=SHARD_FLOW, validate_parameters=False)
def train_shard(exchange: str, shard: str) -> State[None]:
    """Train and evaluate a shard whose request is in the exchange. A tenant that fails does not stop the others."""
    home = find_home()
    prepare_environment(home)
    begin_telemetry("prefixfleet-worker")
    stop, watch = Event(), _Watch()
    Thread(target=watch.run, args=(stop,), name="watch", daemon=True).start()
    work = _Work(lambda: _run_shard(exchange, shard, home, stop.is_set))
    try:
        work.wait()
    except BaseException:  # a signal: the worker was asked to stop, or this run is cancelled
        stop.set()
        work.wait()
        _tell_stopped(exchange, shard)
        raise
    finally:
        stop.set()
    if watch.is_orphaned:
        _tell_stopped(exchange, shard)
        raise RuntimeError("the worker process that started this run has ended")
    if watch.cancelled_by:
        log_info(f"stopped: {watch.cancelled_by}")
        return Cancelled(message=watch.cancelled_by)
    if isinstance(work.problem, PrefixFleetError):
        return Failed(message=str(work.problem), name=REFUSED)
    if work.problem is not None:
        raise work.problem
    failed = sorted({one.tenant for one in work.outcomes if one.state == "failed"})
    everyone = {one.tenant for one in work.outcomes}
    sentence = f"{len(everyone) - len(failed)} of {len(everyone)} tenants trained and evaluated"
    names = f"; failed: {join_abbreviated(failed)}" if failed else ""
    return make_end_state(f"{sentence}{names}", None, failed=bool(failed))


def _run_shard(exchange: str, shard: str, home: Path, stop: Callable[[], bool]) -> list[TenantOutcome]:
    # Imported late: Prefect also loads this flow to look for hooks of a run that was cancelled or crashed.
    from components.stages.sharding.worker import run_shard

    return run_shard(exchange, shard, home, stop)


class _Work:
    """The shard in a thread of its own, so that a signal, which reaches the main thread, does not end it half-way."""

    def __init__(self, call: Callable[[], list[TenantOutcome]]) -> None:
        self.outcomes: list[TenantOutcome] = []
        self.problem: Exception | None = None
        context = contextvars.copy_context()  # log lines then belong to this run
        self._thread = Thread(target=context.run, args=(self._run, call), name="shard", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        while self._thread.is_alive():
            self._thread.join(0.2)

    def _run(self, call: Callable[[], list[TenantOutcome]]) -> None:
        try:
            self.outcomes = call()
        except Exception as problem:  # noqa: BLE001 - the main thread raises it
            self.problem = problem


class _Watch:
    """Looks every other second whether the run must end. A server that does not answer ends nothing."""

    def __init__(self) -> None:
        self.cancelled_by = ""
        """What was cancelled; "": nothing."""
        self.is_orphaned = False
        self._run_id, self._parent_id = runtime.flow_run.id, runtime.flow_run.parent_flow_run_id
        self._starter = os.getppid()

    def run(self, stop: Event) -> None:
        count = 0
        with get_client(sync_client=True) as client:  # one for all looks: a new one reads the certificates again
            while not stop.wait(_WATCH_S):
                count += 1
                self.is_orphaned = os.getppid() != self._starter
                with suppress(httpx.HTTPError):
                    self.cancelled_by = self._find_cancelled(client, with_parent=count % _PARENT_WATCHES == 0)
                if self.is_orphaned or self.cancelled_by:
                    stop.set()

    def _find_cancelled(self, client: SyncPrefectClient, *, with_parent: bool) -> str:
        state = _read_state(client, self._run_id)
        if state in _STOP_STATES:
            return f"this run is {state.value.lower()}"
        if (
            with_parent
            and self._parent_id
            and _read_state(client, self._parent_id) in (StateType.CANCELLING, StateType.CANCELLED)
        ):
            return "the run that sent this shard is cancelled"
        return ""


def _read_state(client: SyncPrefectClient, run_id: str | None) -> StateType:
    """Return the type of a run's state; a run that was deleted counts as cancelled."""
    try:
        response = client.request("GET", "/flow_runs/{id}", path_params={"id": run_id})
    except ObjectNotFound:
        return StateType.CANCELLED
    return StateType(response.json()["state_type"])


def _tell_stopped(exchange: str, shard: str) -> None:
    """Tell the parent by a last heartbeat that this worker was asked to stop, so that it does not count as lost."""
    try:
        folder = Exchange(ObjectStore(exchange, patience_s=_TELL_PATIENCE_S)).open(*locate_shard(shard))
        last = Heartbeat.model_validate(folder.get_json(HEARTBEAT))
        ended = last.model_copy(update={"counter": last.counter + 1, "activity": STOPPED})
        folder.put_json(HEARTBEAT, ended.model_dump(mode="json"))
    except (PrefixFleetError, ValidationError) as problem:
        log_warning(f"the parent was not told that this worker stops: {problem}")
