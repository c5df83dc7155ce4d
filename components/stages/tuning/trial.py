"""One trial of a tuning: train a tenant's delta with given values and score it on the validation split.

A trial never starts from the champion, even with `train.warm_start`: a warm start would favour the champion's own
values. Does not know the study or the other trials.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from components.config import Metric, Params, TrainConfig
from components.data.fingerprint import compute_fingerprint
from components.errors import TrainingError
from components.evaluation.metrics import (
    LOWER_IS_BETTER,
    METRIC_LABELS,
    compute_corpus_score,
    compute_sentence_statistics,
)
from components.evaluation.self_check import require_full_marks
from components.evaluation.tokenization import resolve_tokenizer
from components.model.decoding import Decoding, generate_text
from components.model.delta import Delta
from components.registry.manifest import ARTIFACT_SCHEMA
from components.stages.base import find_chat_template_digest
from components.stages.conversations import make_input, resolve_references
from components.stages.plan import PlanItem
from components.stages.progress import StageProgress, log_info, report_progress
from components.stages.splits import read_tenant_split
from components.stages.starting_points import find_shared_prefix
from components.stages.workspace import Workspace
from components.training.checkpoint import read_saved_step
from components.training.prepare import fit

VALIDATION_LOSS = "validation-loss"


def is_lower_better(metric: str) -> bool:
    """Return whether a lower value of the metric is better."""
    return metric == VALIDATION_LOSS or metric in LOWER_IS_BETTER


def label_metric(metric: str) -> str:
    """Return a metric's name for tables and messages."""
    return "validation loss" if metric == VALIDATION_LOSS else METRIC_LABELS[cast(Metric, metric)]


def shorten_config(config: TrainConfig, steps: int | None) -> TrainConfig:
    """Return the config of a trial of `steps` steps: without warm start, with the same share of warm-up steps.

    Validations are at least four. None leaves the steps as they are.
    """
    clean = config.model_copy(update={"warm_start": False})
    if steps is None or steps == config.max_steps:
        return clean
    share = steps / max(config.max_steps, 1)
    every = min(config.validate_every, max(1, steps // 4))
    warmup = min(round(config.warmup_steps * share), config.warmup_steps)
    return clean.model_copy(update={"max_steps": steps, "warmup_steps": warmup, "validate_every": every})


@dataclass(frozen=True, slots=True)
class TrialScore:
    """The score of a trial that trained to its end. `value` is in the metric's points, or in nats per target token."""

    value: float
    steps: int
    seconds: float
    """Time of training and decoding, the parts before an interruption included."""


@dataclass(frozen=True, slots=True)
class StoppedTrial:
    """A trial that was stopped before its end; its train state is saved."""

    steps: int
    seconds: float


class TrialRunner:
    """Runs the trials of one tenant: holds its data, its base and the metric."""

    def __init__(self, workspace: Workspace, item: PlanItem, params: Params, metric: str, examples: int) -> None:
        """Read the tenant's train and validation splits.

        Raises:
            DataError: one of them is missing, empty or broken.
            TrainingError, ArtifactError: the shared prefix is not trained, or damaged.
            GateError: the metric cannot see the validation references.
        """
        self.workspace, self.item, self.params, self.metric = workspace, item, params, metric
        self.train, self.validation = (
            read_tenant_split(workspace, item.tenant, split) for split in ("train", "validation")
        )
        self.scored_examples = self.validation[:: math.ceil(len(self.validation) / examples)]
        self.scored_examples = resolve_references(workspace.base, self.scored_examples)
        self.references = [example.references for example in self.scored_examples]
        self.tokenizer = resolve_tokenizer(params.evaluate.tokenize, (text for own in self.references for text in own))
        if metric != VALIDATION_LOSS:
            parts = {"validation": range(len(self.references))}
            seen, lowercase = cast(Metric, metric), params.evaluate.lowercase
            require_full_marks(seen, self.references, parts, lowercase, self.tokenizer, item.tenant)
        self.shared = find_shared_prefix(workspace, item)

    def run(
        self,
        name: str,
        config: TrainConfig,
        state: Path,
        report: Callable[[int, float], None],
        stop: Callable[[], bool],
    ) -> TrialScore | StoppedTrial:
        """Train, resuming from `state` where it holds this trial, then score.

        `report` is called with the step and loss of each validation; `stop` is asked after each whether to stop.

        Raises:
            ConfigError, TrainingError, BaseModelError, DataError: these values cannot be trained.
            WorkspaceError: the state cannot be written.
        """
        is_stopped = False

        def log(step: int, losses: dict[str, float]) -> None:
            loss = losses["validation_loss"]
            report_progress(
                StageProgress(name, self.item.tenant, step, config.max_steps, f"validation loss {loss:.3f}")
            )
            report(step, loss)

        def should_stop() -> bool:
            nonlocal is_stopped
            is_stopped = stop()
            return is_stopped

        fingerprint = compute_fingerprint(
            data_digest=self.item.data_digest,
            train=config,
            base_digest=self.workspace.base.digest,
            artifact_schema=ARTIFACT_SCHEMA,
            shared=self.shared.sha256 if self.shared else None,
            chat_template=find_chat_template_digest(self.workspace, self.item.tenant),
        )
        run_key = f"{name} {fingerprint}"
        if step := read_saved_step(state, run_key):
            log_info(f"{self.item.tenant}: {name} resumes at step {step}")
        try:
            result = fit(
                self.workspace.base,
                config,
                self.train,
                self.validation,
                state=state,
                run_key=run_key,
                log=log,
                stop=should_stop,
                name=str(self.workspace.data / self.item.tenant),
                shared=self.shared.prefix if self.shared else None,
            )
        except torch.OutOfMemoryError as problem:
            got = " ".join(str(problem).split())[:200]
            raise TrainingError("memory for a step", got, "lower train.batch_size, or try smaller values") from problem
        if is_stopped:
            return StoppedTrial(result.steps, result.seconds)
        if self.metric == VALIDATION_LOSS:
            return TrialScore(result.validation_loss, result.steps, result.seconds)
        started = time.monotonic()
        value = self._score(name, result.delta)
        return TrialScore(value, result.steps, result.seconds + time.monotonic() - started)

    def _score(self, name: str, delta: Delta) -> float:
        config, done = self.params.evaluate, 0

        def on_batch(rows: int) -> None:
            nonlocal done
            done += rows
            report_progress(StageProgress(f"{name}, decoding", self.item.tenant, done, len(self.scored_examples)))

        texts = generate_text(
            self.workspace.base,
            delta,
            [make_input(example) for example in self.scored_examples],
            Decoding.from_config(config),
            config.batch_size,
            on_batch,
            max_source_tokens=self.params.train.max_source_tokens,
        )
        metric = cast(Metric, self.metric)
        statistics_NK = compute_sentence_statistics(metric, texts, self.references, config.lowercase, self.tokenizer)
        return compute_corpus_score(metric, statistics_NK)
