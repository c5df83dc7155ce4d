"""Stage `evaluate`: what each tenant's split scores with the new prefix, with the base alone, and with the champion.

All three are decoded on the same examples in the same way, so that the gate can compare pair by pair. Each has its own
stamp: the base's score is kept while base, data and decoding stand, the champion's while it is the champion. A prefix
that has become champion keeps what it was measured against, so that a run with nothing new leaves its verdict alone.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.schema import Example
from components.errors import BaseModelError, SchemaError, TrainingError
from components.evaluation.report import Report, Subject, build_report, read_report, write_predictions, write_report
from components.registry.artifact import load_artifact
from components.registry.manifest import read_manifest
from components.stages.examples import evaluated
from components.stages.outcome import Outcome, attempt
from components.stages.plan import PlanItem, plan
from components.stages.progress import Progress, advance, tell, warn
from components.stages.records import STAMP_FILE, read_json, remove_others, stands, write_csv, write_json, write_stamp
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.model.delta import Delta
    from components.registry.versions import Version

REPORT_FILE = "report.json"
PREDICTIONS_FILE = "predictions.jsonl"
METRICS_FILE = "metrics.json"
BLEU_FILE = "bleu.csv"
_FILES = (REPORT_FILE, PREDICTIONS_FILE)
_SHOWN = ("bleu", "rougeL")


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[Outcome]:
    """Evaluate every (or the named) tenant's prefix, one after the other; one that fails does not stop the others.

    Raises:
        RegistryError: MLflow cannot say who the champions are.

    """
    current = plan(workspace, tenants)
    champions = workspace.registry.champions()
    outcomes = [
        evaluate_or_tell(workspace, item, champions.get(item.tenant)) for item in (*current.items, *current.skipped)
    ]
    finish(workspace)
    return outcomes


def evaluate_or_tell(workspace: Workspace, item: PlanItem, champion: "Version | None") -> Outcome:
    """Evaluate one tenant; trouble that its owner can mend becomes a failed outcome."""
    return attempt(item.tenant, "evaluate", lambda: evaluate_tenant(workspace, item, champion))


def evaluate_tenant(workspace: Workspace, item: PlanItem, champion: "Version | None") -> Outcome:
    """Score one tenant's prefix, the base alone, and the champion where it is another prefix on the same base.

    Raises:
        TrainingError: out/train holds no prefix with today's fingerprint.
        ArtifactError: the prefix is damaged.
        DataError: the split is missing, empty or broken.
        RegistryError: the champion's files cannot be fetched.

    """
    folder = workspace.out("evaluate", item.tenant)
    trained = workspace.out("train", item.tenant)
    if item.reason:
        fix = "train it first (`prefixfleet retrain`)"
        raise TrainingError(f"{item.tenant}'s prefix for today's data, parameters and base", item.reason, fix)
    manifest = read_manifest(trained)
    work = _Work(workspace, item)
    decoded = [
        work.score(folder, "prefix", manifest.sha256, trained),
        work.score(folder / "base", "base", None, None),
        _champion(work, folder / "champion", champion, manifest.sha256),
    ]
    if not any(decoded):
        return Outcome(item.tenant, "evaluate", "stood")
    values = {name: read_report(folder / name / REPORT_FILE).score("bleu").value for name in (".", "base")}
    detail = f"BLEU {values['base']:.1f} without, {values['.']:.1f} with its prefix"
    tell(f"{item.tenant}: evaluated: {detail}")
    return Outcome(item.tenant, "evaluate", "done", detail)


def _champion(work: "_Work", folder: Path, champion: "Version | None", candidate_sha256: str) -> bool:
    if champion is None or champion.sha256 == candidate_sha256:
        if folder.exists() and not (champion and work.compares(folder, candidate_sha256)):
            shutil.rmtree(folder)
        return False
    workspace = work.workspace
    try:
        artifact = workspace.registry.fetch(champion, workspace.champion_folder(champion))
        decoded = work.score(folder, "champion", champion.sha256, artifact)
    except (BaseModelError, SchemaError) as problem:
        what = "of another schema" if isinstance(problem, SchemaError) else "on another base"
        warn(f"{champion.tenant}: champion version {champion.version} is {what}, not compared: {problem.got}")
        shutil.rmtree(folder, ignore_errors=True)
        return False
    write_json(folder / "version.json", {"version": champion.version})
    return decoded


class _Work:
    """One tenant's split and how to decode it; reads the examples and loads the base only when something is decoded."""

    def __init__(self, workspace: Workspace, item: PlanItem) -> None:
        self.workspace, self.item = workspace, item
        self.params = workspace.params.for_tenant(item.tenant)

    def score(self, folder: Path, subject: Subject, digest: str | None, artifact: Path | None) -> bool:
        """Decode and score one subject into `folder`; False when what lies there stands."""
        cut = self._cut(artifact)
        inputs = self._inputs(subject, digest, cut)
        if stands(folder, inputs):
            return False
        delta = None if artifact is None else load_artifact(artifact, self.workspace.base)[0]
        examples = evaluated(self.workspace, self.item.tenant, self.params)
        predictions = self._decode(examples, delta, subject, cut)
        report = build_report(
            tenant=self.item.tenant,
            subject=subject,
            examples=examples,
            predictions=predictions,
            config=self.params.evaluate,
            data_digest=self.item.data_digest,
            prefix_digest=digest,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(folder / PREDICTIONS_FILE, examples, predictions)
        write_report(folder / REPORT_FILE, report)
        write_stamp(folder, inputs, _FILES)
        return True

    def compares(self, folder: Path, candidate_sha256: str) -> bool:
        """Whether `folder` holds another prefix's score on today's examples, decoded as they are today."""
        against = (read_json(folder / REPORT_FILE) or {}).get("prefix_digest")
        cut = (read_json(folder / STAMP_FILE) or {}).get("inputs", {}).get("max_source_tokens")
        return against != candidate_sha256 and stands(folder, self._inputs("champion", against, cut))

    def _cut(self, artifact: Path | None) -> int | None:
        """How sources are cut: as the prefix was trained, which is as it serves; for the base alone as today."""
        if artifact is None:
            return self.params.train.max_source_tokens
        return read_manifest(artifact).config(artifact).max_source_tokens

    def _inputs(self, subject: Subject, digest: str | None, cut: int | None) -> dict[str, Any]:
        return {
            "subject": subject,
            "prefix_digest": digest,
            "data_digest": self.item.data_digest,
            "base_digest": read_json(self.workspace.out("base") / "base.json")["digest"],
            "evaluate": self.params.evaluate.model_dump(mode="json"),
            "max_source_tokens": cut,
        }

    def _decode(
        self, examples: Sequence[Example], delta: "Delta | None", subject: Subject, cut: int | None
    ) -> list[str]:
        from components.model.decoding import Decoding, generate_text

        config, done = self.params.evaluate, 0

        def on_batch(rows: int) -> None:
            nonlocal done
            done += rows
            advance(Progress(f"decoding with the {subject}", self.item.tenant, done, len(examples)))

        return generate_text(
            self.workspace.base,
            delta,
            [example.source for example in examples],
            Decoding.of(config),
            config.batch_size,
            on_batch,
            max_source_tokens=cut,
        )


def finish(workspace: Workspace) -> None:
    """Remove what belongs to tenants that have left; gather everybody's scores in metrics.json and bleu.csv."""
    tenants = workspace.tenants()
    folder = workspace.out("evaluate")
    remove_others(folder, tenants)
    metrics: dict[str, Any] = {}
    bleu: list[list[Any]] = []
    for tenant in tenants:
        if not (folder / tenant / REPORT_FILE).is_file() or not (folder / tenant / "base" / REPORT_FILE).is_file():
            continue
        prefix, base = (read_report(folder / tenant / name / REPORT_FILE) for name in (".", "base"))
        metrics[tenant] = {**_values(prefix), "base": _values(base)}
        for subject, report in (("base", base), ("prefix", prefix)):
            score = report.score("bleu")
            bleu.append([tenant, subject, *(round(value, 3) for value in (score.value, score.low, score.high))])
    write_json(folder / METRICS_FILE, metrics)
    write_csv(folder / BLEU_FILE, ["tenant", "subject", "bleu", "low", "high"], bleu)


def _values(report: Report) -> dict[str, float]:
    return {metric: round(report.score(metric).value, 3) for metric in _SHOWN}  # type: ignore[arg-type]
