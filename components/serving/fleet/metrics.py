"""The metrics at /metrics: counters of requests, and gauges of the server's state.

Knows the names of the metrics and the parts whose state they show; does not know HTTP.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from components.serving.background_engine import BackgroundEngine
from components.serving.fleet.observation_buffer import ObservationBuffer
from components.serving.fleet.versions import FleetVersions
from components.serving.interface import EngineHealth

GAUGES = {
    "ready": "1 if the base is loaded.",
    "rows_running": "Rows in the batch.",
    "rows_queued": "Rows in the queue.",
    "resident_prefixes_device": "Artifacts in device memory.",
    "resident_prefixes_host": "Artifacts in host memory.",
    "resident": "1 for each artifact in memory, by tenant and sha256.",
    "resident_bytes": "Bytes of artifacts in device memory.",
    "engine_up": "1 for each vLLM server that answers, 0 for one that does not, by its address.",
    "engine_rows": "Rows that each vLLM server answers now, by its address.",
    "store_trouble": "1 if the artifact store does not answer.",
    "tenants": "Tenants with a champion.",
    "challengers": "Tenants with a challenger.",
    "unusable_versions": "Champions and challengers that cannot answer by their tags.",
    "alias_swaps": "Changes of champions and challengers since the start.",
    "registry_trouble": "1 if the registry could not be read.",
    "rollout_trouble": "1 if the rollout could not be read.",
    "observations_trouble": "1 if counts wait for the database.",
    "inputs_trouble": "1 if counts of inputs wait for the database.",
    "quotas_trouble": "1 if the servers' shared quotas cannot be read: each server then has its own share.",
    "answers_trouble": "1 if answers cannot be shared: other servers then accept no feedback on them.",
    "identity_trouble": "1 if the identity provider does not answer: new keys of its tokens are unknown.",
    "observations_dropped": (
        "Counts and first answers to users that were dropped, as the database failed too long, since the start."
    ),
    "aliases_age_seconds": "Seconds since the registry was last read.",
    "certificate_end_timestamp_seconds": "When the server's TLS certificate ends, in seconds since 1970; with HTTPS.",
}
"""Name of a gauge, without `prefixfleet_` -> what it says."""
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServingMetrics:
    """The metrics of one server, in a Prometheus registry of its own, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        """Start all counters at 0."""
        self.registry = CollectorRegistry()
        registry, by_arm = self.registry, ("tenant", "arm")
        self.requests = Counter(
            "prefixfleet_requests", "Requests by tenant, arm and HTTP status.", (*by_arm, "status"), registry=registry
        )
        self.prompt_tokens = Counter("prefixfleet_prompt_tokens", "Tokens of prompts.", by_arm, registry=registry)
        self.completion_tokens = Counter(
            "prefixfleet_completion_tokens", "Tokens generated.", by_arm, registry=registry
        )
        self.request_seconds = Histogram(
            "prefixfleet_request_seconds",
            "Seconds from the request to the end of its answer.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.first_piece_seconds = Histogram(
            "prefixfleet_first_piece_seconds",
            "Seconds from the request to the first text.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.refusals = Counter(
            "prefixfleet_refusals", "Requests refused before a version was chosen.", ("status",), registry=registry
        )
        self.disconnects = Counter(
            "prefixfleet_disconnects", "Requests whose client disconnected before the end.", registry=registry
        )
        self.shadows = Counter(
            "prefixfleet_shadows", "Requests of shadow trials by result.", ("fate",), registry=registry
        )
        self.fallbacks = Counter(
            "prefixfleet_stood_in",
            "Requests that the champion answered instead of the challenger: the challenger failed (failed), the store"
            " failed (store), or the source was too long beside the challenger's prefix (too long).",
            ("tenant", "why"),
            registry=registry,
        )

    def forget(self, tenant: str) -> None:
        """Remove all labels that name a tenant."""
        for counter in (self.requests, self.prompt_tokens, self.completion_tokens, self.fallbacks):
            counter.remove_by_labels({"tenant": tenant})


class MetricsPage:
    """The text at /metrics: the counters, and gauges of the state at the moment of the request."""

    def __init__(
        self,
        metrics: ServingMetrics,
        fleet: FleetVersions,
        engine: BackgroundEngine,
        observation_buffer: ObservationBuffer,
        find_troubles: Callable[[], Mapping[str, bool]],
        certificate_end_s: float | None = None,
    ) -> None:
        """`find_troubles` returns name -> whether there is one, of the gauges NAME_trouble that other parts know."""
        self._counters, self._gauges = metrics.registry, CollectorRegistry()
        self._gauges.register(_StateCollector(fleet, engine, observation_buffer, find_troubles, certificate_end_s))
        ProcessCollector(registry=self._gauges)

    def render(self) -> bytes:
        """Return the page in Prometheus's text format."""
        return generate_latest(self._counters) + generate_latest(self._gauges)

    def collect(self) -> Iterator[Metric]:
        """Yield what the page shows."""
        yield from self._counters.collect()
        yield from self._gauges.collect()


class _StateCollector(Collector):
    """Gauges that are read from the parts when they are collected."""

    def __init__(
        self,
        fleet: FleetVersions,
        engine: BackgroundEngine,
        observation_buffer: ObservationBuffer,
        find_troubles: Callable[[], Mapping[str, bool]],
        certificate_end_s: float | None,
    ) -> None:
        self._fleet, self._engine, self._observation_buffer = fleet, engine, observation_buffer
        self._find_troubles, self._certificate_end_s = find_troubles, certificate_end_s

    def collect(self) -> Iterator[Metric]:
        health = self._engine.health()
        for name, value in self._read_state(health):
            yield GaugeMetricFamily(f"prefixfleet_{name}", GAUGES[name], float(value))
        resident = GaugeMetricFamily("prefixfleet_resident", GAUGES["resident"], labels=("tenant", "sha256"))
        for sha256, tenant in self._engine.resident_artifacts.items():
            resident.add_metric((tenant, sha256), 1.0)
        yield resident
        servers = health.servers if health else ()
        yield _make_gauge("engine_up", {one.url: not one.down_reason for one in servers})
        yield _make_gauge("engine_rows", {one.url: one.in_flight for one in servers})

    def _read_state(self, health: EngineHealth | None) -> Iterator[tuple[str, float]]:
        fleet = self._fleet
        yield "ready", bool(health and health.ready)
        if health is not None:
            yield "rows_running", health.running
            yield "rows_queued", health.queued
            yield "resident_prefixes_device", health.device_artifacts
            yield "resident_prefixes_host", health.host_artifacts
            yield "resident_bytes", health.device_artifact_bytes
            yield "store_trouble", bool(health.artifact_store_error)
        yield "tenants", len(fleet.snapshot.champions)
        yield "challengers", len(fleet.snapshot.challengers)
        yield "unusable_versions", sum(map(len, fleet.snapshot.unusable.values()))
        yield "alias_swaps", fleet.swap_count
        yield "registry_trouble", "registry" in fleet.read_errors
        yield "rollout_trouble", "rollout" in fleet.read_errors
        yield "observations_trouble", bool(self._observation_buffer.write_error)
        yield "observations_dropped", self._observation_buffer.dropped
        for name, is_so in self._find_troubles().items():
            yield f"{name}_trouble", is_so
        if self._certificate_end_s is not None:
            yield "certificate_end_timestamp_seconds", self._certificate_end_s
        if fleet.last_read_s is not None:
            yield "aliases_age_seconds", time.monotonic() - fleet.last_read_s


def _make_gauge(name: str, by_engine: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(f"prefixfleet_{name}", GAUGES[name], labels=("engine",))
    for url, value in by_engine.items():
        gauge.add_metric((url,), float(value))
    return gauge
