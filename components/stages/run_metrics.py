"""The metrics of flows for Prometheus, from what the database records of them: ends, runs, moves, trials.

Flows end within minutes, so Prometheus cannot ask them. They leave the page in a textfile or at a Pushgateway; ages are
times, which Prometheus subtracts from its own clock. Names no tenant. Knows no flow.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from http.client import HTTPException

from prometheus_client import CollectorRegistry, generate_latest, push_to_gateway
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from components.errors import PrefixFleetError, WorkspaceError
from components.otel.metrics import send_metrics
from components.otel.switch import wants_metrics
from components.rollout.store.deliveries import TargetCounts, count_deliveries
from components.rollout.store.fleet_counts import FleetCounts, LastRun, read_fleet_counts
from components.rollout.store.flow_ends import FlowEnd, FlowName, read_flow_ends, write_flow_end
from components.rollout.store.runs import RESULTS
from components.stages.outcome import TenantOutcome
from components.stages.progress import log_warning
from components.stages.workspace import Workspace
from components.storage.atomic_files import write_atomic

RUN_GAUGES = {
    "flow_end_timestamp_seconds": "When the flow last came to its end, in seconds since 1970; retrain: of all tenants.",
    "flow_duration_seconds": "Seconds that this execution of the flow took.",
    "flow_failed_tenants": "Tenants that failed in this execution of the flow.",
    "run_began_timestamp_seconds": "When the retraining that ended last began, in seconds since 1970.",
    "run_ended_timestamp_seconds": "When it ended, in seconds since 1970.",
    "run_tenants": "Tenants by what that retraining did with them; accepted: registered, on trial or waiting.",
    "run_to_train_tenants": "Tenants that its plan named for training.",
    "run_shards": "Shards in which it trained them.",
    "run_workers": "Workers that trained them.",
    "run_longest_shard_seconds": "Seconds of its longest shard.",
    "run_device_seconds": "Seconds of training of all its tenants.",
    "run_training_tokens": "Tokens that its training read.",
    "run_open_began_timestamp_seconds": "When the newest retraining began, if it has no end: it works, or was killed.",
    "trials": "Tenants on trial, by the trial's mode.",
    "trials_paused": "Trials that are paused.",
    "trials_oldest_timestamp_seconds": "When the oldest trial that is not paused began, in seconds since 1970.",
    "pinned_tenants": "Tenants whose champion is pinned.",
    "open_causes": "Causes of a retraining that wait for one.",
    "messages_failing": "Messages that wait for a channel or webhook that did not take one, and are sent again.",
    "messages_given_up": "Messages of the last 30 days that were given up.",
}
"""Name of a gauge, without `prefixfleet_` -> what it says."""
RUN_COUNTERS = {
    "runs": "Retrainings that had something to do and ended.",
    "ledger_entries": "Entries of the ledger, by action: challenge, advance, promote, rollback, reject, ...",
}
"""The same of counters, whose names end with `_total`."""
_PUSH_TIMEOUT_S = 10.0


def name_retraining(tenants: Sequence[str] | None) -> FlowName:
    """Return the name under which a retraining of all tenants (None) or of the named ones is recorded."""
    return "retrain" if tenants is None else "retrain-named"


def record_flow_end(
    workspace: Workspace,
    flow: FlowName,
    began_s: float,
    outcomes: Iterable[TenantOutcome] = (),
    now_s: Callable[[], float] = time.time,
) -> None:
    """Record that a flow came to its end, and publish the metrics where params.yaml says.

    What fails becomes a warning: metrics stop no flow. `outcomes` are those of the flow's tenants, or the failed ones
    of them. Times are seconds since 1970.
    """
    failed = {one.tenant for one in outcomes if one.state == "failed"}
    try:
        end = FlowEnd(flow=flow, began_s=began_s, ended_s=now_s(), failed_tenants=len(failed))
        write_flow_end(workspace.database, end)
        publish_metrics(workspace)
    except PrefixFleetError as problem:
        log_warning(f"the metrics of the flow {flow} are not published: {problem}")


def publish_metrics(workspace: Workspace) -> None:
    """Write the page to `metrics.textfile`, push it to `metrics.pushgateway`, and send it over OTLP: where each is set.

    Raises:
        WorkspaceError: the database or the gateway does not answer, or the file cannot be written.
    """
    config = workspace.params.metrics
    if config.textfile is None and config.pushgateway is None and not wants_metrics():
        return
    registry = _collect(workspace)
    send_metrics(registry.collect())
    if config.textfile is not None:
        write_atomic(workspace.root / config.textfile, generate_latest(registry))
    if config.pushgateway is not None:
        try:
            push_to_gateway(config.pushgateway, config.job, registry, timeout=_PUSH_TIMEOUT_S)
        except (OSError, HTTPException) as problem:
            fix = "check metrics.pushgateway in params.yaml, and that the gateway runs"
            raise WorkspaceError(f"a Pushgateway at {config.pushgateway}", str(problem), fix) from problem


def render_metrics(workspace: Workspace) -> str:
    """Return the page in Prometheus's text format. Raises WorkspaceError: the database does not answer."""
    return generate_latest(_collect(workspace)).decode()


def _collect(workspace: Workspace) -> CollectorRegistry:
    registry = CollectorRegistry()
    database = workspace.database
    ends, counts, messages = read_flow_ends(database), read_fleet_counts(database), count_deliveries(database)
    registry.register(_RecordedState(ends, counts, list(messages.values())))
    return registry


class _RecordedState(Collector):
    def __init__(self, ends: list[FlowEnd], counts: FleetCounts, messages: list[TargetCounts]) -> None:
        self._ends, self._counts, self._messages = ends, counts, messages

    def collect(self) -> Iterator[Metric]:
        ends, counts = self._ends, self._counts
        yield _make_gauge("flow_end_timestamp_seconds", {one.flow: one.ended_s for one in ends}, "flow")
        yield _make_gauge("flow_duration_seconds", {one.flow: one.ended_s - one.began_s for one in ends}, "flow")
        yield _make_gauge("flow_failed_tenants", {one.flow: one.failed_tenants for one in ends}, "flow")
        if counts.last_run is not None:
            yield from _describe_run(counts.last_run)
        if counts.open_run_began_at is not None:
            yield _make_gauge("run_open_began_timestamp_seconds", _to_seconds(counts.open_run_began_at))
        yield _make_gauge(
            "trials", {mode: counts.trials.get(mode, 0) for mode in ("canary", "shadow", "manual")}, "mode"
        )
        yield _make_gauge("trials_paused", counts.paused)
        if counts.oldest_trial_s is not None:
            yield _make_gauge("trials_oldest_timestamp_seconds", counts.oldest_trial_s)
        yield _make_gauge("pinned_tenants", counts.pinned)
        yield _make_gauge("open_causes", counts.open_causes)
        yield _make_gauge("messages_failing", sum(one.waiting for one in self._messages if one.problem))
        yield _make_gauge("messages_given_up", sum(one.given_up for one in self._messages))
        yield CounterMetricFamily("prefixfleet_runs", RUN_COUNTERS["runs"], counts.runs)
        entries = CounterMetricFamily("prefixfleet_ledger_entries", RUN_COUNTERS["ledger_entries"], labels=("action",))
        for action, number in sorted(counts.actions.items()):
            entries.add_metric((action,), number)
        yield entries


def _describe_run(last: LastRun) -> Iterator[Metric]:
    entry = last.entry
    tenants: dict[str, float] = {result: entry.counts.get(result, 0) for result in RESULTS}
    tenants["unchanged"] = entry.unchanged
    yield _make_gauge("run_began_timestamp_seconds", _to_seconds(entry.began_at))
    yield _make_gauge("run_ended_timestamp_seconds", _to_seconds(entry.ended_at))
    yield _make_gauge("run_tenants", tenants, "result")
    yield _make_gauge("run_to_train_tenants", last.to_train)
    yield _make_gauge("run_shards", last.shards)
    yield _make_gauge("run_workers", last.workers)
    yield _make_gauge("run_longest_shard_seconds", last.longest_shard_seconds)
    yield _make_gauge("run_device_seconds", entry.device_seconds)
    yield _make_gauge("run_training_tokens", entry.training_tokens)


def _make_gauge(name: str, value: float | dict[str, float], label: str = "") -> Metric:
    full_name, text = f"prefixfleet_{name}", RUN_GAUGES[name]
    if not isinstance(value, dict):
        return GaugeMetricFamily(full_name, text, float(value))
    gauge = GaugeMetricFamily(full_name, text, labels=(label,))
    for key, number in value.items():
        gauge.add_metric((key,), float(number))
    return gauge


def _to_seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
