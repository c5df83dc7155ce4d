"""What Prometheus reads at /metrics. Knows counters and the engine's health; counts nothing by itself."""

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
    """One server's; a registry of its own, so that two servers in one process do not add up."""

    def __init__(self) -> None:
        """Start all counters at 0."""
        self.registry = CollectorRegistry()
        kept, answered = self.registry, ("tenant", "arm")
        self.requests = Counter(
            "prefixfleet_requests", "Requests by tenant, arm and HTTP status.", (*answered, "status"), registry=kept
        )
        self.prompt_tokens = Counter("prefixfleet_prompt_tokens", "Tokens read.", answered, registry=kept)
        self.completion_tokens = Counter("prefixfleet_completion_tokens", "Tokens written.", answered, registry=kept)
        self.request_seconds = Histogram(
            "prefixfleet_request_seconds", "From request to end.", buckets=_BUCKETS_S, registry=kept
        )
        self.first_piece_seconds = Histogram(
            "prefixfleet_first_piece_seconds", "To the first text.", buckets=_BUCKETS_S, registry=kept
        )
        self.refusals = Counter(
            "prefixfleet_refusals", "Requests refused before a version was found.", ("status",), registry=kept
        )
        self.disconnects = Counter(
            "prefixfleet_disconnects", "Requests whose caller left before the end.", registry=kept
        )
        self.shadows = Counter(
            "prefixfleet_shadows", "Shadowed requests by what became of them.", ("fate",), registry=kept
        )
        self.fallbacks = Counter(
            "prefixfleet_stood_in",
            "Requests that a champion answered in its challenger's place: it failed, the store did, or its prefix left"
            " no room for the source (too long).",
            ("tenant", "why"),
            registry=kept,
        )

    def forget(self, tenant: str) -> None:
        """Name a tenant no more."""
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
        yield _make_gauge("ready", "1 where the base is loaded.", bool(health and health.ready))
        if health is not None:
            yield _make_gauge("rows_running", "Rows in the batch.", health.running)
            yield _make_gauge("rows_queued", "Rows that wait.", health.queued)
            yield _make_gauge("resident_prefixes_device", "Artifacts in device memory.", health.device_artifacts)
            yield _make_gauge("resident_prefixes_host", "Artifacts in host memory.", health.host_artifacts)
            yield _make_gauge("resident_bytes", "Bytes of resident artifacts.", health.device_artifact_bytes)
            yield _make_gauge("store_trouble", "1 where artifacts cannot be loaded.", bool(health.artifact_store_error))
        yield _make_gauge("tenants", "Tenants with a champion.", len(fleet.snapshot.champions))
        yield _make_gauge("challengers", "Tenants with a challenger.", len(fleet.snapshot.challengers))
        yield _make_gauge("alias_swaps", "Champions and challengers that changed since the start.", fleet.swap_count)
        for what in ("registry", "rollout"):
            yield _make_gauge(f"{what}_trouble", f"1 where the {what} could not be read.", what in fleet.read_errors)
        yield _make_gauge(
            "observations_trouble", "1 where counts wait for the database.", bool(self._observation_buffer.write_error)
        )
        dropped = "Counts and users' first answers that waited for the database too long, since the start."
        yield _make_gauge("observations_dropped", dropped, self._observation_buffer.dropped)
        if fleet.last_read_s is not None:
            yield _make_gauge(
                "aliases_age_seconds", "Since the registry was last read.", time.monotonic() - fleet.last_read_s
            )


def _make_gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"prefixfleet_{name}", help_, float(value))
