"""Stage `evaluate`: score each tenant's evaluation split with the new prefix, with the base alone, and the champion.

All three subjects are decoded on the same examples in the same way, so that the gate can compare them example by
example. Each subject has its own stamp: the base's score is valid until the base, the data or the decoding changes, the
champion's until another version becomes champion. If only settings of the scoring changed, the kept predictions are
scored again. When the new prefix becomes champion itself, the score of the former champion stays, so that a run with
nothing new does not change the verdict.

The rows of all tenants are decoded in one pass. A subject is scored and stamped as soon as its own rows are decoded.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from components.evaluation.report import Report, read_report
from components.otel.spans import open_span
from components.registry.mlflow.versions import CHAMPION
from components.stages.base import read_base_facts
from components.stages.evaluation_jobs import EvaluationJob, TenantEvaluation
from components.stages.evaluation_scoring import PREDICTIONS_FILE, REPORT_FILE
from components.stages.hooks import NO_HOOKS, StageHooks
from components.stages.outcome import TenantOutcome, end_tenant_span
from components.stages.plan import plan
from components.stages.plan_checks import ExpectedPrefix
from components.stages.progress import StageProgress, report_progress
from components.stages.stamps import remove_departed, write_csv, write_json
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.model.decoding import DecodeRequest, Decoding
    from components.registry.mlflow.versions import Version

__all__ = ["BLEU_FILE", "METRICS_FOLDER", "PREDICTIONS_FILE", "REPORT_FILE", "evaluate_shard", "gather_results", "run"]

METRICS_FOLDER = "_metrics"
"""Folder of DVC's metrics, a file a tenant; no tenant id begins with an underscore."""
_FORMER_METRICS_FILE = "metrics.json"
BLEU_FILE = "bleu.csv"
_SUMMARY_METRICS = ("bleu", "rougeL")


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[TenantOutcome]:
    """Evaluate the prefix of every (or each named) tenant in one pass. A tenant that fails does not stop the others.

    Raises:
        RegistryError: MLflow does not answer when asked for the champions.
        BaseModelError: the base cannot be loaded.

    """
    current = plan(workspace, tenants)
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    outcomes = evaluate_shard(workspace, current.collect_fingerprints(), champions, current.reasons)
    gather_results(workspace)
    return outcomes


def evaluate_shard(
    workspace: Workspace,
    fingerprints: Mapping[str, str],
    champions: "Mapping[str, Version]",
    reasons: Mapping[str, str] = MappingProxyType({}),
    hooks: StageHooks = NO_HOOKS,
) -> list[TenantOutcome]:
    """Score the prefixes in out/train, the base alone, and those champions that are another prefix on the same base.

    Subjects with an up-to-date score are skipped. `fingerprints` (tenant -> fingerprint) and `reasons` (tenant -> why
    its prefix needs training) come from a plan; tenants with a reason fail. Outcomes have the order of `fingerprints`.
    A tenant fails if its prefix has another fingerprint, an artifact is damaged, the split is missing, empty, broken,
    changed or too long for the context, or the champion's files cannot be fetched.

    Raises:
        BaseModelError: the base cannot be loaded.

    """
    base_digest = read_base_facts(workspace)["digest"]
    expected = [
        ExpectedPrefix(tenant, fingerprint, base_digest, reasons.get(tenant, ""))
        for tenant, fingerprint in fingerprints.items()
    ]
    tenants = _make_evaluations(workspace, expected, champions)
    _report_finished(tenants, hooks)
    jobs = [job for tenant in tenants for job in tenant.jobs]
    jobs_by_decoding: dict[str, list[EvaluationJob]] = {}
    for job in jobs:
        decoding = json.dumps(job.tenant.params.evaluate.select_decoding(), sort_keys=True)
        jobs_by_decoding.setdefault(decoding, []).append(job)
    progress = _DecodingProgress(jobs)
    with open_span("evaluate", tenants=len(tenants)):
        for same_decoding in jobs_by_decoding.values():
            _decode(workspace, sorted(same_decoding, key=lambda job: job.batch_group), progress, hooks)
    for tenant in tenants:
        if tenant.outcome is None:
            tenant.attempt(partial(hooks.check_stop, tenant.name))
        if tenant.outcome is not None:
            end_tenant_span(tenant.span, tenant.outcome)
    workspace.save_digests()
    return [tenant.outcome for tenant in tenants if tenant.outcome is not None]


def _make_evaluations(
    workspace: Workspace, expected: Sequence[ExpectedPrefix], champions: "Mapping[str, Version]"
) -> list[TenantEvaluation]:
    """Find the jobs of all tenants, in threads if champions' files may have to be fetched."""

    def make(one: ExpectedPrefix) -> TenantEvaluation:
        return TenantEvaluation(workspace, one, champions.get(one.tenant))

    return workspace.registry.run_in_threads(make, expected) if champions else [make(one) for one in expected]


def find_finished(
    workspace: Workspace, fingerprints: Mapping[str, str], champions: "Mapping[str, Version]"
) -> list[TenantOutcome] | None:
    """Return the outcomes of `evaluate_shard` if all its scores are up to date; None if there is anything to decode.

    Raises:
        BaseModelError: the base cannot be loaded.
    """
    outcomes = []
    for _, outcome in _examine(workspace, fingerprints, champions):
        if outcome is None or outcome.state != "skipped":
            return None
        outcomes.append(outcome)
    return outcomes


def find_unscored(
    workspace: Workspace, fingerprints: Mapping[str, str], champions: "Mapping[str, Version]"
) -> tuple[list[str], list[TenantOutcome]]:
    """Return the tenants of which something must be decoded, and the outcomes of the others. Decodes nothing."""
    found = list(_examine(workspace, fingerprints, champions))
    workspace.save_digests()
    unscored = [tenant for tenant, outcome in found if outcome is None]
    return unscored, [outcome for _, outcome in found if outcome is not None]


def _examine(
    workspace: Workspace, fingerprints: Mapping[str, str], champions: "Mapping[str, Version]"
) -> "Iterator[tuple[str, TenantOutcome | None]]":
    """Yield each tenant and its outcome; None if there is something to decode."""
    base_digest = read_base_facts(workspace)["digest"]
    for tenant, fingerprint in fingerprints.items():
        expected = ExpectedPrefix(tenant, fingerprint, base_digest)
        yield tenant, TenantEvaluation(workspace, expected, champions.get(tenant)).outcome


class _DecodingProgress:
    """Counts the decoded rows of all jobs."""

    def __init__(self, jobs: Sequence[EvaluationJob]) -> None:
        names = {job.tenant.name for job in jobs}
        self.label = names.pop() if len(names) == 1 else f"{len(names)} tenants"
        self.done, self.total = 0, sum(job.example_count for job in jobs)

    def add(self, rows: int, note: str = "") -> None:
        self.done += rows
        report_progress(StageProgress("decoding", self.label, self.done, self.total, note))


def _decode(
    workspace: Workspace, jobs: Sequence[EvaluationJob], progress: _DecodingProgress, hooks: StageHooks
) -> None:
    """Decode the rows of jobs with the same decoding; write a job's results once all of its rows are decoded."""
    from components.model.decoding import Decoding, decode

    base, rows = workspace.base, workspace.params.engine.decode_rows
    decoding = Decoding.from_config(jobs[0].tenant.params.evaluate)
    for request, ids in decode(base, _iterate_requests(jobs, decoding, progress, hooks), decoding, rows):
        if hooks.stop():
            return
        job: EvaluationJob = request.owner
        job.add_row(request.number, ids)
        progress.add(1, f"{job.tenant.name}, {job.subject}")
        if len(job.predictions) == len(job.examples):
            job.tenant.finish_job(job)
            _report_finished([job.tenant], hooks)


def _report_finished(tenants: Sequence[TenantEvaluation], hooks: StageHooks) -> None:
    for tenant in tenants:
        if tenant.outcome is not None:
            end_tenant_span(tenant.span, tenant.outcome)
            hooks.on_finished(tenant.outcome)


def _iterate_requests(
    jobs: Sequence[EvaluationJob], decoding: "Decoding", progress: _DecodingProgress, hooks: StageHooks
) -> "Iterator[DecodeRequest]":
    """Yield the rows job by job. They are made lazily, since the prefixes of all tenants may not fit in memory."""
    for job in jobs:
        if hooks.stop():
            return
        requests = job.make_requests(decoding)
        yield from requests
        if not requests:
            progress.add(job.example_count)


def gather_results(workspace: Workspace) -> None:
    """Remove the results of tenants that have no data; write the scores of all others for DVC and charts."""
    tenants = workspace.list_tenants()
    folder = workspace.get_output_folder("evaluate")
    remove_departed(folder, tenants)
    metrics: dict[str, Any] = {}
    (folder / _FORMER_METRICS_FILE).unlink(missing_ok=True)  # an old dvc.yaml must not show it as today's
    bleu: list[list[Any]] = []
    for tenant in tenants:
        if not (folder / tenant / REPORT_FILE).is_file() or not (folder / tenant / "base" / REPORT_FILE).is_file():
            continue
        prefix, base = (read_report(folder / tenant / name / REPORT_FILE) for name in (".", "base"))
        metrics[tenant] = {**_round_scores(prefix), "base": _round_scores(base)}
        for subject, report in (("base", base), ("prefix", prefix)):
            score = report.find_score("bleu")
            bleu.append([tenant, subject, *map(_round, (score.value, score.low, score.high))])
    for tenant, scores in metrics.items():
        write_json(folder / METRICS_FOLDER / f"{tenant}.json", scores)
    for path in (folder / METRICS_FOLDER).glob("*.json"):
        if path.stem not in metrics:
            path.unlink()
    write_csv(folder / BLEU_FILE, ["tenant", "subject", "bleu", "low", "high"], bleu)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _round_scores(report: Report) -> dict[str, float]:
    return {metric: round(report.find_score(metric).value, 3) for metric in _SUMMARY_METRICS}  # type: ignore[arg-type]
