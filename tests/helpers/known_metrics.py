"""The names of all series that this project's own pages of metrics can have, from the code that writes them."""

from components.serving.fleet.metrics import GAUGES, ServingMetrics
from components.stages.run_metrics import RUN_COUNTERS, RUN_GAUGES

OTHERS = {
    "up",  # Prometheus itself
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"),
    *("node_filesystem_avail_bytes", "node_filesystem_size_bytes"),
}
"""Series of Prometheus, of prometheus_client and of node_exporter that rules and dashboards name."""


def list_known_metrics() -> set[str]:
    """Return the names as queries write them, of a histogram also those of its parts."""
    gauges = {f"prefixfleet_{name}" for name in (*GAUGES, *RUN_GAUGES)}
    counters = {f"prefixfleet_{name}_total" for name in RUN_COUNTERS}
    families = list(ServingMetrics().registry.collect())
    counters |= {f"{one.name}_total" for one in families if one.type == "counter"}
    parts = {f"{one.name}_{part}" for one in families if one.type == "histogram" for part in ("bucket", "sum", "count")}
    return gauges | counters | parts | OTHERS
