"""Train one tenant's delta (a prefix, or what another method trains) on its pairs; the base stays as it is.

Knows steps, validation, the best delta and resuming. Does not know tenants, trackers or where its data comes from.
Nothing random happens in the loop: the order of examples is a function of seed and epoch, and the base runs without
dropout. So a run that was stopped and resumed on the same CPU equals one that was not, bit by bit.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from components.config import TrainConfig
from components.data.tokens import Encoded
from components.errors import TrainingError
from components.model.base import Base
from components.model.trainable import TrainableDelta
from components.training.checkpoint import save_state
from components.training.run import Run, TrainResult


def train_delta(
    base: Base,
    train: Sequence[Encoded],
    validation: Sequence[Encoded],
    config: TrainConfig,
    *,
    module: TrainableDelta,
    state: Path | None = None,
    run_key: str = "",
    origin: str = "",
    log: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train `module` for `config.max_steps` updates and return the best delta seen at a validation.

    A module that trains nothing (in-context, no slots) is validated once and left as it is.

    With `state`, a folder, the run is saved there at every validation, when `stop` says so (asked before each step) and
    on Ctrl-C (KeyboardInterrupt goes on to the caller); the next call with the same `run_key` resumes it. A state of
    another `run_key` is ignored and overwritten. `origin` names what `module` starts from where that is a trained delta
    (a warm start); it is kept with the state, since a resumed run has the origin of its first part. `log` gets the step
    and `validation_loss`, `train_loss` and `learning_rate` at every validation, step 0 included.

    Raises:
        TrainingError: no examples, an example that does not fit the context, or a loss that is not finite.
        WorkspaceError: the state cannot be written.
    """
    _check_examples(base, train, validation, module.delta().length)
    run = Run(base, train, validation, config, module)
    run.progress.origin = origin
    start = f"{run.began}: nothing to resume from" if state is None else run.resume(state, run_key)
    began, earlier, resumed_from = time.monotonic(), run.progress.seconds, run.progress.step

    def save() -> None:
        run.progress.seconds = earlier + time.monotonic() - began
        if state is not None:
            save_state(state, run_key, run.progress, run.module, run.optimizer, run.best.tensors)

    try:
        with run.installed():
            while True:
                if run.due and not run.progress.validated:
                    run.validate()
                    save()
                    log(run.progress.step, run.metrics())
                if run.progress.step >= run.last or stop():
                    break
                run.update()
        if not run.progress.validated:
            save()
    except KeyboardInterrupt:
        if run.whole:
            save()
        raise
    return run.result(resumed_from, start)


def _check_examples(base: Base, train: Sequence[Encoded], validation: Sequence[Encoded], prefix_length: int) -> None:
    for name, pairs in (("train", train), ("validation", validation)):
        if not pairs:
            raise TrainingError(f"examples in the {name} split", "none", f"deliver a drop with {name}.jsonl")
        if base.is_encoder_decoder:
            longest, prefix_length = max(max(len(p.source_ids), len(p.target_ids)) for p in pairs), 0
        else:
            longest = max(pair.length for pair in pairs)
        if longest + prefix_length > base.context:
            wanted = f"prefix, source and target within the base's context of {base.context} tokens"
            got = f"a prefix of {prefix_length} and a {name} example of {longest}"
            raise TrainingError(wanted, got, "set train.max_source_tokens or a smaller train.prefix_length")
