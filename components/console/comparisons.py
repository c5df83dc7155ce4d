"""Keeps the latest comparisons of two versions, so that filters and pages need no new scores. Knows no page."""

import threading
from collections.abc import Sequence
from pathlib import Path

from cachetools import FIFOCache

from components.config import Metric
from components.console.sources import Sources
from components.evaluation.comparison import ComparedRow
from components.registry.registry import Version
from components.stages.evaluation_scoring import REPORT_FILE
from components.stages.reports.version_comparison import VersionComparison, compare_versions

_MAX_KEPT = 16

_PairKey = tuple[str, str, str, int]


class Comparisons:
    """The latest comparisons; safe to use from many threads."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._compared: FIFOCache[_PairKey, VersionComparison] = FIFOCache(_MAX_KEPT)
        self._rows: FIFOCache[tuple[_PairKey, Metric], Sequence[ComparedRow]] = FIFOCache(_MAX_KEPT)

    def compare(self, tenant: str, first: Version | None, second: Version) -> VersionComparison:
        """Return the comparison of two versions; see `compare_versions`, whose errors it raises."""
        key, evaluated = self._make_key(tenant, first, second), self._find_evaluated(tenant)
        with self._lock:
            found = self._compared.get(key)
        if found is None:
            found = compare_versions(self._sources.registry, evaluated, tenant, first, second)
            with self._lock:
                self._compared[key] = found
        return found

    def score(self, tenant: str, first: Version | None, second: Version, metric: Metric) -> Sequence[ComparedRow]:
        """Return the scored rows of a comparison, the largest change first. Raises as `compare`."""
        key = self._make_key(tenant, first, second), metric
        with self._lock:
            rows = self._rows.get(key)
        if rows is None:
            rows = self.compare(tenant, first, second).score_rows(metric)
            with self._lock:
                self._rows[key] = rows
        return rows

    def _find_evaluated(self, tenant: str) -> Path | None:
        workspace = self._sources.workspace
        return None if workspace is None else workspace.get_output_folder("evaluate", tenant)

    def _make_key(self, tenant: str, first: Version | None, second: Version) -> _PairKey:
        """Return a key that changes when the tenant is evaluated again."""
        folder, changed_ns = self._find_evaluated(tenant), 0
        if folder is not None and (folder / REPORT_FILE).is_file():
            changed_ns = (folder / REPORT_FILE).stat().st_mtime_ns
        return tenant, first.sha256 if first else "", second.sha256, changed_ns
