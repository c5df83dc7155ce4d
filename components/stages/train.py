"""Stage `train`: a prefix for every tenant whose fingerprint changed, in out/train/<tenant>.

A tenant's folder holds the artifact (prefix.safetensors, manifest.json), its loss curve, what the run measured, and the
train state from which an interrupted run resumes. Does not know metrics, gates or the registry's server.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.data.digests import file_digest
from components.registry.artifact import save_artifact
from components.registry.manifest import TENSORS_FILE
from components.stages.examples import read_tenant, split_path
from components.stages.origins import champion_start, run_key, shared_prefix
from components.stages.outcome import Outcome, attempt
from components.stages.plan import PlanItem, plan
from components.stages.progress import Progress, advance, tell
from components.stages.records import read_csv, remove_others, write_csv, write_json
from components.stages.workspace import Workspace

LOSS_FILE = "loss.csv"
TRAINING_FILE = "training.json"
STATE_FOLDER = "state"
_COLUMNS = ("step", "train_loss", "validation_loss")
_MEASURED = ("steps", "best_step", "train_loss", "validation_loss", "seconds", "resumed_from")


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[Outcome]:
    """Train what the plan asks for, one tenant after the other; one that fails does not stop the others."""
    todo = plan(workspace, tenants)
    tell(todo.sentence)
    outcomes = [Outcome(item.tenant, "train", "stood") for item in todo.skipped]
    outcomes += train_shard(workspace, todo.items)
    finish(workspace)
    return outcomes


def train_or_tell(workspace: Workspace, item: PlanItem) -> Outcome:
    """Train one tenant; trouble that its owner can mend becomes a failed outcome."""
    return attempt(item.tenant, "train", lambda: train_tenant(workspace, item))


def train_tenant(workspace: Workspace, item: PlanItem) -> Outcome:
    """Train one tenant's prefix and save it; the old artifact stands until the new one is whole.

    Raises:
        DataError: a split is missing, empty or broken, or an example exceeds the base's context.
        BaseModelError: the base cannot take the method.
        ConfigError: the slots fill the context, or the shared prefix is of another kind.
        TrainingError: the loss is not finite, or the shared prefix is not trained yet.

    """
    from components.training.checkpoint import saved_step
    from components.training.fit import fit

    base, config, folder = workspace.base, item.train, workspace.out("train", item.tenant)
    splits = read_tenant(workspace, item.tenant)
    state = folder / STATE_FOLDER
    shared = shared_prefix(workspace, item)
    key = run_key(item.fingerprint, shared.sha256 if shared else None)
    step = saved_step(state, key)
    start = None if step else champion_start(workspace, item, shared)
    begins = f"resumes at step {step}" if step else f"starts from {start.told}" if start else "starts clean"
    tell(f"{item.tenant}: training ({item.reason}), {begins}")

    def log(step: int, losses: dict[str, float]) -> None:
        note = f"validation loss {losses['validation_loss']:.3f}"
        advance(Progress("training", item.tenant, step, config.max_steps, note))

    result = fit(
        base,
        config,
        splits["train"],
        splits["validation"],
        state=state,
        run_key=key,
        log=log,
        name=lambda split: str(split_path(workspace, item.tenant, split)),
        shared=shared.prefix if shared else None,
        start=start.delta if start else None,
        start_key=start.run_key if start else "",
        origin=start.sha256 if start else "",
    )
    write_csv(folder / LOSS_FILE, _COLUMNS, [_cells(asdict(point)) for point in result.curve])
    write_json(folder / TRAINING_FILE, {name: getattr(result, name) for name in _MEASURED})
    save_artifact(
        folder,
        result.delta,
        tenant=item.tenant,
        base_name=base.name,
        base_digest=base.digest,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version=workspace.dataset_version,
        data_digest=item.data_digest,
        train=config.model_dump(mode="json"),
        fingerprint=item.fingerprint,
        method=config.method,
        made_from={
            **({"shared": shared.sha256} if shared else {}),
            **({"warm_start": result.origin} if result.origin else {}),
        },
    )
    detail = f"validation loss {result.validation_loss:.3f} at step {result.best_step} of {result.steps}"
    tell(f"{item.tenant}: trained in {result.seconds:.0f} s ({result.start}): {detail}")
    return Outcome(item.tenant, "train", "done", detail)


def resumable(workspace: Workspace) -> dict[str, int]:
    """The tenants whose training was interrupted and will be resumed, with the step that they reached."""
    from components.training.checkpoint import saved_step

    def step(item: PlanItem) -> int:
        under = item.train.shared
        shared = file_digest(workspace.out("train", under) / TENSORS_FILE) if under else None
        return saved_step(workspace.out("train", item.tenant) / STATE_FOLDER, run_key(item.fingerprint, shared))

    steps = {item.tenant: step(item) for item in plan(workspace).items}
    return {tenant: step for tenant, step in steps.items() if step}


def finish(workspace: Workspace) -> None:
    """Remove what belongs to tenants that have left, and gather everybody's loss curves in out/train/loss.csv."""
    tenants = workspace.tenants()
    for name in remove_others(workspace.out("train"), tenants):
        tell(f"{name}: has no data any more, its files in out/train are removed")
    rows = [
        [tenant, *(row[column] for column in _COLUMNS)]
        for tenant in tenants
        for row in read_csv(workspace.out("train", tenant) / LOSS_FILE)
    ]
    write_csv(workspace.out("train") / LOSS_FILE, ["tenant", *_COLUMNS], rows)


def _cells(point: dict[str, Any]) -> list[str]:
    losses = ["" if point[column] is None else f"{point[column]:.6g}" for column in _COLUMNS[1:]]
    return [str(point["step"]), *losses]


def train_shard(workspace: Workspace, items: Sequence[PlanItem]) -> list[Outcome]:
    """Train these tenants; one that fails does not stop the others."""
    return [train_or_tell(workspace, item) for item in items]
