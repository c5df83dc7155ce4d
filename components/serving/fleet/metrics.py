"""The metrics at /metrics: counters of requests, and gauges of the server's state.

Knows the names of the metrics and the parts whose state they show; does not know HTTP.
"""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from components.serving.background_engine import BackgroundEngine
from components.serving.fleet.observation_buffer import ObservationBuffer
from components.serving.fleet.versions import FleetVersions

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
    ) -> None:
        self._counters, self._gauges = metrics.registry, CollectorRegistry()
        self._gauges.register(_StateCollector(fleet, engine, observation_buffer))
        ProcessCollector(registry=self._gauges)

    def render(self) -> bytes:
        """Return the page in Prometheus's text format."""
        return generate_latest(self._counters) + generate_latest(self._gauges)


class _StateCollector(Collector):
    """Gauges that are read from the parts when they are collected."""

    def __init__(self, fleet: FleetVersions, engine: BackgroundEngine, observation_buffer: ObservationBuffer) -> None:
        self._fleet, self._engine, self._observation_buffer = fleet, engine, observation_buffer

    def collect(self) -> Iterator[Metric]:
        health, fleet = self._engine.health(), self._fleet
        yield _make_gauge("ready", "1 if the base is loaded.", bool(health and health.ready))
        if health is not None:
            yield _make_gauge("rows_running", "Rows in the batch.", health.running)
            yield _make_gauge("rows_queued", "Rows in the queue.", health.queued)
            yield _make_gauge("resident_prefixes_device", "Artifacts in device memory.", health.device_artifacts)
            yield _make_gauge("resident_prefixes_host", "Artifacts in host memory.", health.host_artifacts)
            yield _make_gauge("resident_bytes", "Bytes of artifacts in device memory.", health.device_artifact_bytes)
            yield _make_gauge(
                "store_trouble", "1 if the artifact store does not answer.", bool(health.artifact_store_error)
            )
        yield _make_gauge("tenants", "Tenants with a champion.", len(fleet.snapshot.champions))
        yield _make_gauge("challengers", "Tenants with a challenger.", len(fleet.snapshot.challengers))
        unusable = sum(map(len, fleet.snapshot.unusable.values()))
        yield _make_gauge("unusable_versions", "Champions and challengers that cannot answer by their tags.", unusable)
        yield _make_gauge("alias_swaps", "Changes of champions and challengers since the start.", fleet.swap_count)
        for name in ("registry", "rollout"):
            yield _make_gauge(f"{name}_trouble", f"1 if the {name} could not be read.", name in fleet.read_errors)
        yield _make_gauge(
            "observations_trouble", "1 if counts wait for the database.", bool(self._observation_buffer.write_error)
        )
        dropped = (
            "Counts and first answers to users that were dropped, as the database failed too long, since the start."
        )
        yield _make_gauge("observations_dropped", dropped, self._observation_buffer.dropped)
        if fleet.last_read_s is not None:
            yield _make_gauge(
                "aliases_age_seconds", "Seconds since the registry was last read.", time.monotonic() - fleet.last_read_s
            )


def _make_gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"prefixfleet_{name}", help_, float(value))
