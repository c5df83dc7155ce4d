"""Stage `train`: train a prefix in out/train/<tenant> for every tenant whose fingerprint changed.

A tenant's folder holds the artifact (prefix.safetensors, manifest.json), the loss curve, figures of the run, and the
state from which an interrupted run resumes. Does not know metrics, gates or the registry's server.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from components.data.digests import compute_file_digest
from components.errors import PrefixFleetError
from components.otel.span import Span
from components.otel.spans import open_span, start_span
from components.registry.artifact import save_artifact
from components.registry.manifest import TENSORS_FILE
from components.stages.base import read_base_facts
from components.stages.hooks import NO_HOOKS, StageHooks
from components.stages.init_texts import read_init_text
from components.stages.outcome import TenantOutcome, attempt, catch_failure, end_tenant_span
from components.stages.plan import PlanItem, SharedItems, plan
from components.stages.plan_checks import confirm_item
from components.stages.progress import StageProgress, log_info, report_progress
from components.stages.splits import check_overlaps, get_split_path, read_splits
from components.stages.stamps import ENDED_FIELD, TRAINING_FILE, read_csv, remove_departed, write_csv, write_json
from components.stages.starting_points import find_champion_start, find_shared_prefix, make_run_key
from components.stages.usage_records import record_trainings
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.training.distributed.passes import PassRunner
    from components.training.run import TrainingJob, TrainResult

LOSS_FILE = "loss.csv"
STATE_FOLDER = "state"
_LOSS_COLUMNS = ("step", "train_loss", "validation_loss")
_MEASURED_FIELDS = ("steps", "best_step", "train_loss", "validation_loss", "seconds", "tokens", "resumed_from")


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[TenantOutcome]:
    """Plan, then train the tenants that need it as one shard. A tenant that fails does not stop the others."""
    todo = plan(workspace, tenants)
    log_info(todo.sentence)
    record_trainings(workspace, todo.collect_fingerprints())
    outcomes = [TenantOutcome(item.tenant, "train", "skipped") for item in todo.skipped]
    outcomes += train_shard(workspace, todo.items)
    record_trainings(workspace, todo.reasons)
    gather_results(workspace)
    return outcomes


def train_planned(
    workspace: Workspace, fingerprints: Mapping[str, str], reasons: Mapping[str, str], hooks: StageHooks = NO_HOOKS
) -> list[TenantOutcome]:
    """Train the tenants in `reasons` as one shard; the other tenants in `fingerprints` are up to date and skipped.

    `fingerprints` (tenant -> fingerprint) and `reasons` (tenant -> why it needs training) come from a plan, perhaps on
    another machine. A tenant fails if its data, parameters and base have another fingerprint in this workspace.

    Raises:
        ConfigError, TrainingError: as `train_shard`.
    """
    outcomes = [TenantOutcome(tenant, "train", "skipped") for tenant in fingerprints if tenant not in reasons]
    if not reasons:
        return outcomes
    base_digest, shared = read_base_facts(workspace)["digest"], SharedItems()
    items: list[PlanItem] = []
    for tenant, reason in reasons.items():
        with catch_failure(tenant, "train", outcomes):
            items.append(confirm_item(workspace, tenant, fingerprints[tenant], reason, base_digest, shared))
    workspace.save_digests()
    return outcomes + train_shard(workspace, items, hooks)


def train_shard(workspace: Workspace, items: Sequence[PlanItem], hooks: StageHooks = NO_HOOKS) -> list[TenantOutcome]:
    """Train these tenants together; those whose prefix builds on another tenant's prefix come last.

    A tenant's artifact is saved as soon as its run ends. A tenant's PrefixFleetError becomes a failed outcome.

    Returns:
        One outcome per item, in the order of the items.

    Raises:
        ConfigError: `engine.processes` is larger than the number of GPUs.
        TrainingError: a worker process ended; all running trainings are saved.
    """
    from components.training.distributed import open_pass_runner

    if not items:
        return []
    outcomes: dict[str, TenantOutcome] = {}
    with (
        open_span("train", tenants=len(items)),
        open_pass_runner(workspace.base, workspace.base_config, workspace.params.engine) as pass_runner,
    ):
        for shared in (False, True):
            wave = [item for item in items if (item.train.shared is not None) == shared]
            # Only runs of the same kind share passes, so keep them together.
            wave.sort(key=lambda item: (item.train.method, item.train.gradient_checkpointing))
            outcomes |= _train_wave(workspace, wave, pass_runner, hooks)
    return [outcomes[item.tenant] for item in items]


def _train_wave(
    workspace: Workspace, items: Sequence[PlanItem], pass_runner: "PassRunner", hooks: StageHooks
) -> dict[str, TenantOutcome]:
    from components.training.loop import train_together

    outcomes: dict[str, TenantOutcome] = {}
    trainings: dict[str, _TenantTraining] = {}

    def jobs() -> "Iterator[TrainingJob]":
        for item in items:
            span = start_span("train tenant", tenant=item.tenant)

            def begin(item: PlanItem = item, span: Span = span) -> TenantOutcome:
                hooks.check_stop(item.tenant)
                trainings[item.tenant] = _TenantTraining(workspace, item, hooks, span)
                return TenantOutcome(item.tenant, "train", "done")

            outcomes[item.tenant] = attempt(item.tenant, "train", begin)
            if item.tenant in trainings:
                yield trainings[item.tenant].job
            else:
                end_tenant_span(span, outcomes[item.tenant])

    try:
        for ended in train_together(workspace.base, jobs(), workspace.params.engine, pass_runner):
            training = trainings.pop(ended.job.tenant)
            outcomes[ended.job.tenant] = attempt(ended.job.tenant, "train", lambda: training.finish(ended.result))  # noqa: B023
            end_tenant_span(training.span, outcomes[ended.job.tenant])
            hooks.on_finished(outcomes[ended.job.tenant])
    finally:
        for training in trainings.values():  # of a shard that was stopped
            training.span.fail()
            training.span.end()
    return outcomes


class _TenantTraining:
    """One tenant's training: its job, and how its result is saved. The old artifact stays until a new one is saved."""

    def __init__(self, workspace: Workspace, item: PlanItem, hooks: StageHooks, span: Span) -> None:
        """Read the data and make the job, which starts or resumes from the state in the tenant's folder.

        Raises:
            DataError: a split is missing, empty or broken, an example exceeds the base's context, validation or test
                repeats too much of train, or the tokenizer does not know more of the tokens than `data.max_unknown`.
            BaseModelError: the base does not support the method.
            ConfigError: the prefix fills the context, the shared prefix is of another kind, or the document of
                `train.init_text` cannot be read or is longer than the prefix.
            TrainingError: the shared prefix is not trained yet.
        """
        from components.training.checkpoint import read_saved_step
        from components.training.prepare import prepare_job

        self.workspace, self.item, self.hooks, self.span = workspace, item, hooks, span
        read_init_text(workspace.root, item.train)  # raises if the plan could not read the document
        self.folder = workspace.get_output_folder("train", item.tenant)
        splits = read_splits(workspace, item.tenant)
        self.overlaps = check_overlaps(workspace, item.tenant, splits)
        self.shared = find_shared_prefix(workspace, item)
        state, tokenizer = self.folder / STATE_FOLDER, workspace.base.tokenizer_digest
        key = make_run_key(item.fingerprint, tokenizer, self.shared.sha256 if self.shared else None)
        step = read_saved_step(state, key)
        start = None if step else find_champion_start(workspace, item, self.shared)
        begin = f"resumes at step {step}" if step else f"starts from {start.description}" if start else "starts clean"
        log_info(f"{item.tenant}: training ({item.reason}), {begin}")
        self.job: TrainingJob = prepare_job(
            workspace.base,
            item.train,
            splits["train"],
            splits["validation"],
            tenant=item.tenant,
            state=state,
            tokens=workspace.tokens / item.tenant,
            run_key=key,
            log=self._report_validation,
            stop=hooks.stop,
            name=lambda split: str(get_split_path(workspace, item.tenant, split)),
            shared=self.shared.prefix if self.shared else None,
            start=start.delta if start else None,
            start_key=start.run_key if start else "",
            origin=start.sha256 if start else "",
            max_unknown=workspace.params.data.max_unknown,
        )

    def finish(self, result: "TrainResult | PrefixFleetError") -> TenantOutcome:
        """Save the artifact, the loss curve and the figures. Raises the run's error, or WorkspaceError."""
        if isinstance(result, PrefixFleetError):
            raise result
        self.hooks.check_stop(self.item.tenant)
        workspace, item, base = self.workspace, self.item, self.workspace.base
        write_csv(self.folder / LOSS_FILE, _LOSS_COLUMNS, [_format_point(asdict(point)) for point in result.curve])
        measured = {name: getattr(result, name) for name in _MEASURED_FIELDS}
        self.span.set(steps=result.steps, step=result.best_step, training_tokens=result.tokens)
        write_json(self.folder / TRAINING_FILE, {**measured, **self.overlaps, ENDED_FIELD: time.time()})
        save_artifact(
            self.folder,
            result.delta,
            tenant=item.tenant,
            base_name=base.name,
            base_digest=base.digest,
            tokenizer_digest=base.tokenizer_digest,
            dataset_version=workspace.dataset_version,
            data_digest=item.data_digest,
            train=item.train.model_dump(mode="json"),
            fingerprint=item.fingerprint,
            method=item.train.method,
            made_from={
                **({"shared": self.shared.sha256} if self.shared else {}),
                **({"warm_start": result.origin} if result.origin else {}),
            },
        )
        detail = f"validation loss {result.validation_loss:.3f} at step {result.best_step} of {result.steps}"
        log_info(f"{item.tenant}: trained in {result.seconds:.0f} s ({result.start_description}): {detail}")
        return TenantOutcome(item.tenant, "train", "done", detail)

    def _report_validation(self, step: int, losses: dict[str, float]) -> None:
        note = f"validation loss {losses['validation_loss']:.3f}"
        report_progress(StageProgress("training", self.item.tenant, step, self.item.train.max_steps, note))
        self.span.add_event("validation", step=step, validation_loss=losses["validation_loss"])
        self.hooks.on_checkpoint(self.item.tenant, step)


def find_resumable(workspace: Workspace) -> dict[str, int]:
    """Return tenant -> saved step for every tenant whose interrupted training the next run resumes."""
    from components.training.checkpoint import read_saved_step

    todo = plan(workspace)

    def step(item: PlanItem) -> int:
        name = item.train.shared
        shared = compute_file_digest(workspace.get_output_folder("train", name) / TENSORS_FILE) if name else None
        key = make_run_key(item.fingerprint, todo.base["tokenizer_digest"], shared)
        return read_saved_step(workspace.get_output_folder("train", item.tenant) / STATE_FOLDER, key)

    steps = {item.tenant: step(item) for item in todo.items}
    return {tenant: step for tenant, step in steps.items() if step}


def gather_results(workspace: Workspace) -> None:
    """Remove the files of tenants that have no data; write all loss curves to out/train/loss.csv."""
    tenants = workspace.list_tenants()
    for name in remove_departed(workspace.get_output_folder("train"), tenants):
        log_info(f"{name}: has no data any more; its files in out/train were removed")
    remove_departed(workspace.tokens, tenants)
    rows = [
        [tenant, *(row[column] for column in _LOSS_COLUMNS)]
        for tenant in tenants
        for row in read_csv(workspace.get_output_folder("train", tenant) / LOSS_FILE)
    ]
    write_csv(workspace.get_output_folder("train") / LOSS_FILE, ["tenant", *_LOSS_COLUMNS], rows)


def _format_point(point: dict[str, Any]) -> list[str]:
    losses = ["" if point[column] is None else f"{point[column]:.6g}" for column in _LOSS_COLUMNS[1:]]
    return [str(point["step"]), *losses]
