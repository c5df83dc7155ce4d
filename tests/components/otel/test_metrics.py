"""Prometheus's metrics over OTLP: the same names and numbers, once and periodically."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from waiting import wait_until

from components.errors import ConfigError
from components.otel.metrics import PeriodicMetrics, send_metrics


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    requests = Counter("fleet_requests", "Requests.", ("tenant",), registry=registry)
    requests.labels("alder").inc(3)
    Gauge("fleet_rows", "Rows.", registry=registry).set(2.5)
    Counter("fleet_unused", "Nothing.", ("tenant",), registry=registry)
    seconds = Histogram("fleet_seconds", "Seconds.", ("arm",), buckets=(1, 5), registry=registry)
    for value in (0.5, 2, 3, 100):
        seconds.labels("champion").observe(value)
    registry.requests = requests
    return registry


def test_counters_gauges_and_histograms_arrive_with_their_labels(otlp, registry):
    send_metrics(registry.collect())
    wait_until(lambda: otlp.metrics, "metrics")
    assert otlp.kinds == {"fleet_requests": "sum", "fleet_rows": "gauge", "fleet_seconds": "histogram"}
    assert otlp.metrics == {
        ("fleet_requests", (("tenant", "alder"),)): 3,
        ("fleet_rows", ()): 2.5,
        ("fleet_seconds", (("arm", "champion"),)): (4, 105.5, [1, 5], [1, 2, 1]),
    }


def test_a_server_sends_its_metrics_again_and_again_and_at_its_end(otlp, registry):
    key = ("fleet_requests", (("tenant", "alder"),))
    with PeriodicMetrics(registry.collect):
        wait_until(lambda: otlp.metrics.get(key) == 3, "the first metrics")
        registry.requests.labels("alder").inc()
        wait_until(lambda: otlp.metrics.get(key) == 4, "the next metrics")
        registry.requests.labels("alder").inc()
    wait_until(lambda: otlp.metrics.get(key) == 5, "the last metrics")


def test_the_interval_is_checked_and_without_the_switch_nothing_is_read(monkeypatch):
    def fail():
        raise AssertionError

    with PeriodicMetrics(fail):
        send_metrics(())
    monkeypatch.setenv("PREFIXFLEET_OTEL", "otlp")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "a minute")
    with pytest.raises(ConfigError, match="OTEL_METRIC_EXPORT_INTERVAL; got 'a minute'"):
        PeriodicMetrics(fail)
