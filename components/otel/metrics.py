"""The metrics of Prometheus's registries over OTLP: the same numbers under the same names, so nothing is counted twice.

A counter becomes a cumulative sum, a histogram a cumulative histogram with the same buckets, all else a gauge. Knows
Prometheus's metrics and the SDK's; does not know what they count.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.samples import Sample

from components.errors import ConfigError
from components.otel.switch import wants_metrics

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import AggregationTemporality, HistogramDataPoint
    from opentelemetry.sdk.metrics.export import Metric as OtelMetric

_log = logging.getLogger("prefixfleet.otel")
Collect = Callable[[], Iterable[Metric]]
_INTERVAL_VARIABLE, _INTERVAL_MS = "OTEL_METRIC_EXPORT_INTERVAL", 60_000.0


def send_metrics(metrics: Iterable[Metric]) -> None:
    """Send metrics once, in a thread; without the switch, do nothing. `metrics` are read before it returns."""
    if not wants_metrics():
        return
    from components.otel.collector import get_collector

    read = list(metrics)
    get_collector().send(lambda: _export(read, 0))


class PeriodicMetrics:
    """Sends metrics every OTEL_METRIC_EXPORT_INTERVAL milliseconds, from a thread; use it as a context."""

    def __init__(self, collect: Collect) -> None:
        """`collect` is called in the thread."""
        self._collect, self._began_ns = collect, time.time_ns()
        self._is_ending = threading.Event()
        self._interval_s = _read_interval_s()

    def __enter__(self) -> None:
        """Begin, if the switch is on."""
        if wants_metrics():
            threading.Thread(target=self._run, name="prefixfleet-metrics", daemon=True).start()

    def __exit__(self, *_problem: object) -> None:
        """End, with the last metrics; does not wait for the collector."""
        self._is_ending.set()
        if not wants_metrics():
            return
        from components.otel.collector import get_collector

        try:
            last = list(self._collect())
        except Exception:  # noqa: BLE001 - the server's own end must not fail
            _log.exception("the last metrics were not sent over OTLP")
        else:
            get_collector().send(lambda: _export(last, self._began_ns))

    def _run(self) -> None:
        while not self._is_ending.wait(self._interval_s):
            try:
                _export(self._collect(), self._began_ns)
            except Exception:  # noqa: BLE001 - the thread must not end
                _log.exception("the metrics were not sent over OTLP; the next ones will be")


def convert(metrics: Iterable[Metric], began_ns: int, now_ns: int) -> "list[OtelMetric]":
    """Return Prometheus's metrics as the SDK's; `began_ns`: when their counters were 0, 0 if unknown."""
    from opentelemetry.sdk.metrics import export

    made: list[OtelMetric] = []
    cumulative: AggregationTemporality = export.AggregationTemporality.CUMULATIVE
    for one in metrics:
        data: export.Sum | export.Gauge | export.Histogram
        if one.type == "histogram":
            data = export.Histogram(_to_histogram_points(one.samples, began_ns, now_ns), cumulative)
        else:
            is_counter = one.type == "counter"
            points = [
                export.NumberDataPoint(dict(sample.labels), began_ns if is_counter else 0, now_ns, float(sample.value))
                for sample in one.samples
                if not is_counter or sample.name.endswith("_total")
            ]
            data = export.Sum(points, cumulative, True) if is_counter else export.Gauge(points)
        made.append(export.Metric(one.name, one.documentation, one.unit, data))
    return [one for one in made if one.data.data_points]


def _to_histogram_points(samples: Iterable[Sample], began_ns: int, now_ns: int) -> "list[HistogramDataPoint]":
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = []
    for labels, cumulative in buckets.items():
        below = [0.0, *(value for _, value in cumulative)]
        counts = [int(value - before) for before, value in pairwise(below)]
        bounds = [bound for bound, _ in cumulative[:-1]]
        limits: Any = (None, None)  # Prometheus keeps no least and greatest
        total = int(below[-1])
        points.append(HistogramDataPoint(dict(labels), began_ns, now_ns, total, sums[labels], counts, bounds, *limits))
    return points


def _export(metrics: Iterable[Metric], began_ns: int) -> None:
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from components.otel.exporting import make_resource

    made = convert(metrics, began_ns, time.time_ns())
    scope = ScopeMetrics(InstrumentationScope("prefixfleet"), made, "")
    _get_exporter().export(MetricsData([ResourceMetrics(make_resource(), [scope], "")]))


@lru_cache(1)
def _get_exporter() -> "OTLPMetricExporter":
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    from components.otel.collector import get_collector

    return OTLPMetricExporter(session=get_collector().open_session())


def _read_interval_s() -> float:
    value = os.environ.get(_INTERVAL_VARIABLE) or str(_INTERVAL_MS)
    try:
        interval_s = float(value) / 1000
    except ValueError:
        interval_s = 0.0
    if not interval_s > 0:
        raise ConfigError(f"milliseconds in {_INTERVAL_VARIABLE}", repr(value), "set a number such as 60000")
    return interval_s
