"""What artifacts are in memory, for vLLM's own /metrics and its log. Knows vLLM's interface for connector metrics.

Statistics are levels and totals, so of two samples the newer one counts.
"""

from dataclasses import dataclass, field
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats

from prefixfleet_vllm.resident_artifacts import ResidentArtifacts

_LEVELS = {
    "used_bytes": "Bytes in use by prefixes.",
    "limit_bytes": "Bytes that prefixes may use.",
    "used_loras": "LoRA artifacts in host memory.",
    "max_loras": "LoRA artifacts that host memory may hold.",
    "lora_bytes": "Bytes of host memory in use by LoRA artifacts.",
}
_TOTALS = {
    "loads": "Artifacts that were loaded into memory.",
    "failed_loads": "Artifacts that could not be loaded.",
    "evictions": "Artifacts that were evicted for others.",
}


@dataclass
class ArtifactStats(KVConnectorStats):
    """One sample: what is used and allowed, totals since the start, and bytes by (tenant, sha256)."""

    data: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget the sample."""
        self.data = {}

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        """Return the newer sample."""
        return other if other.data else self

    def reduce(self) -> dict[str, int | float]:
        """Return the numbers for vLLM's log."""
        return {name: value for name, value in self.data.items() if name != "artifacts"}

    def is_empty(self) -> bool:
        """Whether there is no sample."""
        return not self.data


def sample(residents: ResidentArtifacts) -> ArtifactStats:
    """Return the present state; vLLM sends it between processes as JSON."""
    loaded = [one for one in residents.residents if one.is_loaded]
    return ArtifactStats(
        {
            **{name: getattr(residents, name) for name in (*_LEVELS, *_TOTALS)},
            "artifacts": [[one.artifact.tenant, one.artifact.sha256, one.size_bytes] for one in loaded],
        }
    )


class ArtifactMetrics(KVConnectorPromMetrics):
    """Prometheus metrics `vllm:prefixfleet_*`, with vLLM's labels of model and engine."""

    def __init__(self, *args: Any) -> None:
        """Register the metrics."""
        super().__init__(*args)
        self._shown: dict[int, set[tuple[str, str]]] = {}
        self._seen: dict[tuple[int, str], int] = {}
        labels, gauge, counter = self._labelnames, self._gauge_cls, self._counter_cls
        kinds: dict[str, Any] = {"multiprocess_mode": "mostrecent"}
        start = "vllm:prefixfleet_"
        self._artifact: Any = gauge(
            name=f"{start}artifact_bytes",
            documentation="Bytes of each artifact in a worker's memory.",
            labelnames=[*labels, "tenant", "sha256"],
            **kinds,
        )
        self._levels: dict[str, Any] = {
            name: gauge(name=f"{start}{name}", documentation=text, labelnames=labels, **kinds)
            for name, text in _LEVELS.items()
        }
        self._totals: dict[str, Any] = {
            name: counter(name=f"{start}{name}", documentation=text, labelnames=labels)
            for name, text in _TOTALS.items()
        }

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Show a sample; artifacts that are no longer in memory vanish."""
        labels = self.per_engine_labelvalues[engine_idx]
        for name, level in self._levels.items():
            level.labels(*labels).set(transfer_stats_data[name])
        for name, total in self._totals.items():
            new = transfer_stats_data[name] - self._seen.get((engine_idx, name), 0)
            total.labels(*labels).inc(new)
            self._seen[engine_idx, name] = transfer_stats_data[name]
        present = {(tenant, sha256): size for tenant, sha256, size in transfer_stats_data["artifacts"]}
        for tenant, sha256 in self._shown.get(engine_idx, set()) - present.keys():
            self._artifact.remove(*labels, tenant, sha256)
        for (tenant, sha256), size in present.items():
            self._artifact.labels(*labels, tenant, sha256).set(size)
        self._shown[engine_idx] = set(present)
