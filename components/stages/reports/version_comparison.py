"""Compares two versions of a tenant on its evaluation split, row by row, from kept predictions. Decodes nothing.

Predictions of the prefix in out/train, of the base alone and of the last champion are in out/evaluate; those of every
registered version are files of its run in MLflow. Two versions may have been evaluated on different data: then only the
examples that both have are compared. Knows no page.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from components.config import Metric
from components.errors import ArtifactError, GateError
from components.evaluation.comparison import ComparedRow, compare_predictions, pair_predictions
from components.evaluation.report import Prediction, Report, ReportWithPredictions
from components.registry.registry import Registry, Version
from components.stages.evaluation_scoring import PREDICTIONS_FILE, REPORT_FILE, read_scored

BASE = "base"
"""Stands for a version: the base alone, without a prefix."""
_FIX = "run `prefixfleet retrain`, which evaluates the new prefix, the base and the champion on the same split"


@dataclass(frozen=True, kw_only=True)
class VersionComparison:
    """Two versions' predictions for the examples that both have; `second` is the newer one."""

    tenant: str
    first: str
    second: str
    first_report: Report
    second_report: Report
    pairs: Sequence[tuple[int, Prediction, Prediction]]
    only_in_one: int
    """Examples of either evaluation that the other does not have."""

    @cached_property
    def slices(self) -> list[str]:
        """The named slices, sorted."""
        return sorted({one.slice for _, _, one in self.pairs if one.slice is not None})

    @property
    def different_decoding(self) -> list[str]:
        """The settings of the decoding that differ, as `name: first, then second`."""
        before, after = self.first_report.decoding, self.second_report.decoding
        names = sorted({*before, *after})
        return [
            f"{name}: {before.get(name)}, then {after.get(name)}"
            for name in names
            if before.get(name) != after.get(name)
        ]

    def score_rows(self, metric: Metric) -> list[ComparedRow]:
        """Return the rows, the largest change first. Raises GateError if the words' tokenizer is not installed."""
        report = self.second_report
        return compare_predictions(self.pairs, metric, lowercase=report.lowercase, tokenizer=report.tokenizer or "13a")


def compare_versions(
    registry: Registry, evaluated: Path | None, tenant: str, first: Version | None, second: Version
) -> VersionComparison:
    """Return the comparison of two versions; `first` None: of the base alone with `second`.

    `evaluated`: the tenant's folder in out/evaluate; None: there is no workspace, only MLflow.

    Raises:
        ArtifactError: a version has no kept predictions; the error says how to get them.
        GateError: the predictions have no example in common, or are damaged.
        RegistryError: MLflow or its artifact store does not answer.
    """
    best: VersionComparison | None = None
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch:
        sides = [
            _PredictionSets(registry, evaluated, tenant, version, Path(scratch, str(number)))
            for number, version in enumerate((first, second))
        ]
        for one, other in _iterate_candidates(*sides):
            found = _pair(tenant, first, second, one, other)
            if found is not None and (best is None or len(found.pairs) > len(best.pairs)):
                best = found
    if best is None:
        names = f"{_name(first)} and version {second.version} of {tenant}"
        raise GateError(f"predictions of {names} for the same examples", "no example that both have", _FIX)
    return best


class _PredictionSets:
    """Where the predictions of one version may be: the workspace's files first, then MLflow's run."""

    def __init__(
        self, registry: Registry, evaluated: Path | None, tenant: str, version: Version | None, scratch: Path
    ) -> None:
        self._registry, self._evaluated, self._tenant = registry, evaluated, tenant
        self._version, self._scratch = version, scratch

    @cached_property
    def local(self) -> ReportWithPredictions | None:
        if self._evaluated is None:
            return None
        if self._version is None:
            return _read_if_present(self._evaluated / "base", None)
        candidates = (self._evaluated, self._evaluated / "champion")
        return next((found for one in candidates if (found := _read_if_present(one, self._version.sha256))), None)

    @cached_property
    def kept_by_mlflow(self) -> ReportWithPredictions | None:
        """None: the base alone, which has no run. Raises ArtifactError or RegistryError."""
        if self._version is None:
            return None
        self._scratch.mkdir()
        for name in (REPORT_FILE, PREDICTIONS_FILE):
            content = self._registry.read_run_file(self._version.run_id, name) if self._version.run_id else None
            if content is None:
                wanted = f"{name} in MLflow's run of {_name(self._version)} of {self._tenant}"
                raise ArtifactError(wanted, "no such file, as for a version that was registered by hand", _FIX)
            (self._scratch / name).write_bytes(content)
        return read_scored(self._scratch)

    def require_any(self) -> list[ReportWithPredictions]:
        """Return all sets, the local one first. Raises ArtifactError if there is none."""
        try:
            sets = [self.local, self.kept_by_mlflow]
        except ArtifactError:
            if self.local is None:
                raise
            sets = [self.local]
        found = [one for one in sets if one is not None]
        if not found:
            wanted = f"kept predictions of {_name(self._version)} for {self._tenant}'s evaluation split"
            raise ArtifactError(wanted, "none in out/evaluate", _FIX)
        return found


def _iterate_candidates(
    first: _PredictionSets, second: _PredictionSets
) -> Iterator[tuple[ReportWithPredictions, ReportWithPredictions]]:
    """Yield sets to pair; MLflow is asked only if the workspace lacks one of them, or has other data for both."""
    if first.local and second.local:
        yield first.local, second.local
        if first.local.report.data_digest == second.local.report.data_digest:
            return
    for one in first.require_any():
        for other in second.require_any():
            yield one, other


def _pair(
    tenant: str,
    first: Version | None,
    second: Version,
    one: ReportWithPredictions,
    other: ReportWithPredictions,
) -> VersionComparison | None:
    try:
        pairs = pair_predictions(one.predictions, other.predictions)
    except GateError:
        return None
    return VersionComparison(
        tenant=tenant,
        first=first.version if first else BASE,
        second=second.version,
        first_report=one.report,
        second_report=other.report,
        pairs=pairs,
        only_in_one=len(one.predictions) + len(other.predictions) - 2 * len(pairs),
    )


def _read_if_present(folder: Path, prefix_digest: str | None) -> ReportWithPredictions | None:
    if not (folder / REPORT_FILE).is_file() or not (folder / PREDICTIONS_FILE).is_file():
        return None
    found = read_scored(folder)
    return found if found.report.prefix_digest == prefix_digest else None


def _name(version: Version | None) -> str:
    return "the base alone" if version is None else f"version {version.version}"
