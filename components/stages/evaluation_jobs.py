"""One tenant's evaluation as jobs: score its prefix, the base alone, and the champion if that is another prefix.

`TenantEvaluation` finds the jobs without decoding anything. The jobs then run in any order, and the last one completes
the tenant. A PrefixFleetError ends this tenant only. Does not know how rows are decoded, or the other tenants.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from components.config import Params
from components.data.digests import compute_tenant_digest
from components.data.schema import Example
from components.errors import BaseModelError, SchemaError
from components.evaluation.report import Subject, read_report
from components.evaluation.tokenization import load_tokenizer, resolve_tokenizer
from components.logs import log_context
from components.otel.span import NO_SPAN
from components.otel.spans import start_span
from components.registry.artifact import load_artifact
from components.registry.manifest import read_manifest
from components.stages.champions import select_comparable
from components.stages.conversations import make_input, resolve_references
from components.stages.evaluation_scoring import REPORT_FILE, ScoredSubject
from components.stages.outcome import TenantOutcome, attempt
from components.stages.plan_checks import ExpectedPrefix, make_prefix_error, read_planned_manifest
from components.stages.progress import log_info, log_warning
from components.stages.splits import read_evaluation_examples
from components.stages.stamps import STAMP_FILE, read_json, write_json
from components.stages.workspace import Workspace
from components.storage.atomic_files import remove_tree

if TYPE_CHECKING:
    from components.model.decoding import DecodeRequest, Decoding
    from components.registry.mlflow.versions import Version

_BATCH_GROUPS = {"prefix": 0, "embedding": 0, "in-context": 1, "infix": 2}
_OWN_WEIGHTS_GROUP = 3


@dataclass(eq=False)
class EvaluationJob:
    """One subject whose score must be computed."""

    tenant: "TenantEvaluation"
    scored: ScoredSubject
    artifact: Path | None
    """The artifact's folder; None for the base alone."""
    method: str
    example_count: int
    examples: list[Example] = field(default_factory=list)
    """In memory only from `make_requests` until the results are written."""
    predictions: dict[int, str] = field(default_factory=dict)
    """Number of the example -> decoded text."""

    @property
    def subject(self) -> Subject:
        """What is scored."""
        return self.scored.subject

    @property
    def batch_group(self) -> int:
        """Jobs with the same number can share batches, except in the last group, where each has its own weights."""
        return _BATCH_GROUPS.get(self.method, _OWN_WEIGHTS_GROUP)

    def make_requests(self, decoding: "Decoding") -> "list[DecodeRequest]":
        """Return the job's rows, owned by the job; none if the tenant failed or its champion is skipped."""
        requests: list[DecodeRequest] = []
        if not self.tenant.is_stopped:
            self.tenant.begin_span()
            self.tenant.is_stopped = not self.tenant.attempt(lambda: requests.extend(self._build_requests(decoding)))
        return requests

    def add_row(self, number: int, ids: Sequence[int]) -> None:
        """Add the generated ids of an example."""
        from components.model.decoding import decode_answer

        source = make_input(self.examples[number])
        self.predictions[number] = decode_answer(self.tenant.workspace.base, source, ids)

    def write_results(self) -> None:
        """Score the predictions and write report, predictions and stamp. Raises GateError or WorkspaceError."""
        self.scored.write_results(self.examples, [self.predictions[number] for number in range(len(self.examples))])

    def release_examples(self) -> None:
        """Free the examples and predictions: those of a whole fleet do not fit in memory."""
        self.examples, self.predictions = [], {}

    def _build_requests(self, decoding: "Decoding") -> "list[DecodeRequest]":
        from components.model.decoding import make_requests
        from components.model.delta import Delta

        base = self.tenant.workspace.base
        examples = read_evaluation_examples(self.tenant.workspace, self.tenant.name, self.tenant.params)
        self.examples = resolve_references(base, examples)
        sources = [make_input(example) for example in self.examples]
        try:
            delta = Delta() if self.artifact is None else load_artifact(self.artifact, base)[0]
            return make_requests(base, delta, sources, decoding, self.scored.max_source_tokens, self)
        except (BaseModelError, SchemaError) as problem:
            if self.subject != "champion":
                raise
            self.tenant.skip_champion(self, problem)
            return []


class TenantEvaluation:
    """One tenant's evaluation: its jobs, and its outcome once they are done."""

    def __init__(self, workspace: Workspace, expected: ExpectedPrefix, champion: "Version | None") -> None:
        """Find the jobs. If the champion cannot be fetched, the tenant fails after the jobs found before it."""
        self.workspace, self.expected, self.name, self.champion = workspace, expected, expected.tenant, champion
        self.folder = workspace.get_output_folder("evaluate", self.name)
        self.data_digest = ""
        """Digest of the data that the prefix was trained on; "" until its manifest is read."""
        self.outcome: TenantOutcome | None = None
        """None until the last job is done or the tenant failed."""
        self.is_stopped = False
        """Whether a job failed, so that the tenant's next jobs do not start."""
        self.span = NO_SPAN
        """From the first row that is decoded to the outcome."""
        self.jobs: list[EvaluationJob] = []
        self._open_jobs: set[EvaluationJob] = set()
        self._obsolete_folder: Path | None = None
        """The folder of a former champion's score, which is removed when the tenant is complete."""
        self.attempt(self._find_jobs)
        self._close_if_done()

    @cached_property
    def params(self) -> Params:
        """The tenant's effective parameters. Raises ConfigError."""
        return self.workspace.params.for_tenant(self.name)

    @cached_property
    def example_count(self) -> int:
        """Number of examples per subject.

        Raises:
            DataError, TrainingError: the split is missing or broken; the data changed after training.
            GateError: the tokenizer that the metrics need is not installed.

        """
        examples = read_evaluation_examples(self.workspace, self.name, self.params)
        load_tokenizer(
            resolve_tokenizer(self.params.evaluate.tokenize, (t for one in examples for t in one.references))
        )
        found = compute_tenant_digest(self.workspace.data, self.name, self.workspace.digests.digest_file)
        if found != self.data_digest:
            raise make_prefix_error(self.name, "data changed")
        return len(examples)

    def attempt(self, work: Callable[[], None]) -> bool:
        """Run `work` for this tenant. Return False if a PrefixFleetError made the outcome a failed one."""

        def run_work() -> TenantOutcome:
            work()
            return TenantOutcome(self.name, "evaluate", "done")

        outcome = attempt(self.name, "evaluate", run_work)
        if outcome.state == "failed":
            self.outcome = outcome
        return outcome.state != "failed"

    def begin_span(self) -> None:
        """Begin the tenant's span, unless it has begun."""
        if self.span is NO_SPAN:
            self.span = start_span("evaluate tenant", tenant=self.name)

    def finish_job(self, job: EvaluationJob) -> None:
        """Write the results of a job whose rows are all decoded; the last job completes the tenant."""
        self._open_jobs.remove(job)
        written = self.attempt(job.write_results)
        job.release_examples()
        if not written:
            self.is_stopped = True
        elif job.subject == "champion":
            self._record_champion_version()
        self._close_if_done()

    def skip_champion(self, job: EvaluationJob, problem: BaseModelError | SchemaError) -> None:
        """Drop the job of a champion that cannot be compared."""
        self._discard_champion_report(job.scored.folder, problem)
        job.release_examples()
        self.jobs.remove(job)
        self._open_jobs.remove(job)
        self._close_if_done()

    def _find_jobs(self) -> None:
        if self.expected.reason:
            raise make_prefix_error(self.name, self.expected.reason)
        self.champion = select_comparable(self.workspace, self.champion)
        manifest = read_planned_manifest(self.workspace, self.name, self.expected.fingerprint)
        if manifest.base_digest != self.expected.base_digest:
            raise make_prefix_error(self.name, "base changed")
        self.data_digest = manifest.data_digest
        trained, digest = self.workspace.get_output_folder("train", self.name), manifest.sha256
        self._add_job("prefix", self.folder, digest, trained)
        self._add_job("base", self.folder / "base", None, None)
        folder, champion = self.folder / "champion", self.champion
        if champion is None or champion.sha256 == digest:
            if folder.exists() and not (champion and self._is_comparable(folder, digest)):
                self._obsolete_folder = folder
            return
        try:
            artifact = self.workspace.registry.fetch(champion, self.workspace.get_champion_folder(champion))
            if not self._add_job("champion", folder, champion.sha256, artifact):
                self._record_champion_version()
        except (BaseModelError, SchemaError) as problem:
            self._discard_champion_report(folder, problem)

    def _add_job(self, subject: Subject, folder: Path, digest: str | None, artifact: Path | None) -> bool:
        """Add a job, unless the results in `folder` are up to date. Return whether it was added."""
        method, cut = "prefix", self.params.train.max_source_tokens
        if artifact is not None:  # cut sources as in training and in serving
            manifest = read_manifest(artifact)
            method, cut = manifest.method, manifest.parse_train_config(artifact).max_source_tokens
        scored = self._make_scored_subject(subject, folder, digest, cut)
        if scored.is_up_to_date(self.workspace.digests.digest_file):
            return False
        job = EvaluationJob(self, scored, artifact, method, self.example_count)
        self.jobs.append(job)
        self._open_jobs.add(job)
        return True

    def _is_comparable(self, folder: Path, candidate_sha256: str) -> bool:
        """Return whether `folder` holds the score of another prefix with the present data, base and decoding."""
        digest = (read_json(folder / REPORT_FILE) or {}).get("prefix_digest")
        cut = (read_json(folder / STAMP_FILE) or {}).get("inputs", {}).get("max_source_tokens")
        scored = self._make_scored_subject("champion", folder, digest, cut)
        return digest != candidate_sha256 and scored.is_up_to_date(self.workspace.digests.digest_file)

    def _make_scored_subject(
        self, subject: Subject, folder: Path, digest: str | None, cut: int | None
    ) -> ScoredSubject:
        return ScoredSubject(
            tenant=self.name,
            subject=subject,
            folder=folder,
            params=self.params,
            data_digest=self.data_digest,
            base_digest=self.expected.base_digest,
            prefix_digest=digest,
            max_source_tokens=cut,
        )

    def _record_champion_version(self) -> None:
        assert self.champion is not None  # noqa: S101 - a champion's job exists only if there is a champion
        version = {"version": self.champion.version}
        self.attempt(lambda: write_json(self.folder / "champion" / "version.json", version))

    def _discard_champion_report(self, folder: Path, problem: BaseModelError | SchemaError) -> None:
        assert self.champion is not None  # noqa: S101 - as above
        version, other = self.champion.version, "schema" if isinstance(problem, SchemaError) else "base"
        log_warning(f"{self.name}: champion version {version} has another {other} and is not compared: {problem.got}")
        remove_tree(folder)

    def _close_if_done(self) -> None:
        if self.outcome is not None or self._open_jobs:
            return
        if self._obsolete_folder is not None:
            remove_tree(self._obsolete_folder)
        if not self.jobs:
            self.outcome = TenantOutcome(self.name, "evaluate", "skipped")
            return
        prefix, base = (read_report(self.folder / name / REPORT_FILE) for name in (".", "base"))
        without, own = (report.find_score("bleu").value for report in (base, prefix))
        detail = f"BLEU {without:.1f} without and {own:.1f} with its prefix"
        with log_context(tenant=self.name):
            log_info(f"{self.name}: evaluated: {detail}")
        self.outcome = TenantOutcome(self.name, "evaluate", "done", detail)
