"""What Prometheus reads at /metrics. Knows counters and the engine's health; counts nothing by itself."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from components.serving.fleet.observation_buffer import Watch
from components.serving.fleet.versions import Fleet
from components.serving.interface import Health

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One server's; a registry of its own, so that two servers in one process do not add up."""

    def __init__(self, fleet: Fleet, health: Callable[[], Health | None], watch: Watch) -> None:
        """`health` is None until the base is loaded."""
        self.registry = CollectorRegistry()
        kept, answered = self.registry, ("tenant", "arm")
        self.requests = Counter(
            "prefixfleet_requests", "Requests by tenant, arm and HTTP status.", (*answered, "status"), registry=kept
        )
        self.read = Counter("prefixfleet_prompt_tokens", "Tokens read.", answered, registry=kept)
        self.written = Counter("prefixfleet_completion_tokens", "Tokens written.", answered, registry=kept)
        self.seconds = Histogram("prefixfleet_request_seconds", "From request to end.", buckets=_SECONDS, registry=kept)
        self.first_seconds = Histogram(
            "prefixfleet_first_piece_seconds", "To the first text.", buckets=_SECONDS, registry=kept
        )
        self.refused = Counter(
            "prefixfleet_refusals", "Requests refused before a version was found.", ("status",), registry=kept
        )
        self.left = Counter("prefixfleet_disconnects", "Requests whose caller left before the end.", registry=kept)
        self.shadows = Counter(
            "prefixfleet_shadows", "Shadowed requests by what became of them.", ("fate",), registry=kept
        )
        self.stood_in = Counter(
            "prefixfleet_stood_in",
            "Requests that a champion answered in its challenger's place: it failed, the store did, or its prefix left"
            " no room for the source (too long).",
            ("tenant", "why"),
            registry=kept,
        )
        self.registry.register(_State(fleet, health, watch))
        ProcessCollector(registry=self.registry)

    def forget(self, tenant: str) -> None:
        """Name a tenant no more."""
        for counter in (self.requests, self.read, self.written, self.stood_in):
            counter.remove_by_labels({"tenant": tenant})

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)


class _State(Collector):
    """What is asked for at the moment of reading."""

    def __init__(self, fleet: Fleet, health: Callable[[], Health | None], watch: Watch) -> None:
        self._fleet, self._health, self._watch = fleet, health, watch

    def collect(self) -> Iterator[Metric]:
        health, fleet = self._health(), self._fleet
        yield _gauge("ready", "1 where the base is loaded.", bool(health and health.ready))
        if health is not None:
            yield _gauge("rows_running", "Rows in the batch.", health.running)
            yield _gauge("rows_queued", "Rows that wait.", health.queued)
            yield _gauge("resident_prefixes_device", "Artifacts in device memory.", health.resident_device)
            yield _gauge("resident_prefixes_host", "Artifacts in host memory.", health.resident_host)
            yield _gauge("resident_bytes", "Bytes of resident artifacts.", health.resident_bytes)
            yield _gauge("store_trouble", "1 where artifacts cannot be loaded.", bool(health.trouble))
        yield _gauge("tenants", "Tenants with a champion.", len(fleet.map.champions))
        yield _gauge("challengers", "Tenants with a challenger.", len(fleet.map.challengers))
        yield _gauge("alias_swaps", "Champions and challengers that changed since the start.", fleet.swaps)
        for what in ("registry", "rollout"):
            yield _gauge(f"{what}_trouble", f"1 where the {what} could not be read.", what in fleet.trouble)
        yield _gauge("observations_trouble", "1 where counts wait for the database.", bool(self._watch.trouble))
        dropped = "Counts and users' first answers that waited for the database too long, since the start."
        yield _gauge("observations_dropped", dropped, self._watch.dropped)
        if fleet.read_s is not None:
            yield _gauge("aliases_age_seconds", "Since the registry was last read.", time.monotonic() - fleet.read_s)


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"prefixfleet_{name}", help_, float(value))
