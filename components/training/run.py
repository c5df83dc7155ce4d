"""One tenant's run: its tensors and numbers, the rows of its next step, what it makes of a step's gradients.

Knows one tenant's steps; does not know who else is in the pass, when to save, to stop or to tell anybody.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from components.config import TrainConfig
from components.data.batches import order_epoch
from components.data.pairs import TokenizedPair, count_pair_tokens
from components.errors import TrainingError
from components.model.base.checkpointing import checkpoint_blocks
from components.model.delta import Delta, make_delta_from_tensors
from components.model.trainable_delta import TrainableDelta
from components.training.checkpoint import CurvePoint, RunProgress, load_state, save_state
from components.training.schedule import compute_learning_rate

Pair = TypeVar("Pair")
_HIGHEST_RATE = torch.finfo(torch.float32).max / 10
"""Adam's first step is ten times the rate, which float32 has to hold."""
VALIDATION_EXAMPLES = 128
"""At most so many validation examples, evenly spaced, make a validation loss."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The best delta of a run, by validation loss, and how the run went. Losses in nats a target token."""

    delta: Delta
    steps: int
    """Updates done; fewer than `max_steps` when `stop` ended the run."""
    best_step: int
    train_loss: float
    """Mean over the steps since the last validation but one."""
    validation_loss: float
    """Of the best delta."""
    seconds: float
    """Wall time of training, earlier parts of a resumed run included."""
    resumed_from: int
    """The step that an earlier, interrupted run had reached; 0 for a clean start."""
    start_description: str
    """How the run started, in words: resumed, or warm or clean and why it was not resumed."""
    origin: str
    """The `origin` that the first part of the run was given."""
    curve: tuple[CurvePoint, ...]
    """Every validation of the run, earlier parts included."""


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """What a run is made from. `module` is trained in place.

    With `state`, a folder, the run is saved there, and a job of the same `run_key` goes on from it; a state of another
    `run_key` is ignored and overwritten. `origin` names what `module` starts from where that is a trained delta (a warm
    start); it is kept with the state, since a resumed run has the origin of its first part. `log` gets the step and
    `validation_loss`, `train_loss` and `compute_learning_rate` at every validation, step 0 included. `stop` is asked
    before each step.
    """

    config: TrainConfig
    module: TrainableDelta
    train: Sequence[TokenizedPair]
    validation: Sequence[TokenizedPair]
    tenant: str = ""
    state: Path | None = None
    run_key: str = ""
    origin: str = ""
    log: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None
    stop: Callable[[], bool] = lambda: False


class TenantRun:
    """One run's tensors and numbers. `is_consistent` is false while they are being changed and must not be saved."""

    def __init__(self, job: TrainingJob) -> None:
        """Begin, or go on where the job's state says."""
        self.job, self.config, self.module = job, job.config, job.module
        parameters = list(self.module.parameters()) or [torch.nn.Parameter(torch.zeros(0))]
        self.optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=self.config.weight_decay)
        self.progress = RunProgress(origin=job.origin)
        self.best_delta: Delta = self.module.collapse()
        self.last_step = self.config.max_steps if self.module.is_trainable else 0
        self.is_consistent = True
        self.is_stopped = False
        self.validation_examples = sample_evenly(job.validation)
        self._lengths: list[int] = count_pair_tokens(job.train).sum(axis=1).tolist()
        self._epoch_batches: tuple[int, list[list[int]]] = (-1, [])
        self.start_description = self._resume_or_start()
        self.resumed_from = self.progress.step

    @contextmanager
    def install(self, model: Any) -> Iterator[None]:
        """Inside, added weights stay on the base, and it recomputes activations where the config says so."""
        weights = self.module.make_delta().weights
        with ExitStack() as stack:
            if weights is not None:
                stack.enter_context(weights.apply(model))
            if self.config.gradient_checkpointing:
                stack.enter_context(checkpoint_blocks(model))
            yield

    @property
    def is_validation_due(self) -> bool:
        """Whether this step wants a validation that it has not had."""
        progress = self.progress
        return not progress.is_validated and (
            progress.step % self.config.validate_every == 0 or progress.step >= self.last_step
        )

    @property
    def is_finished(self) -> bool:
        """Whether no step is left, or too many validations in a row were no better than the best before them."""
        progress, patience = self.progress, self.config.patience
        since = sum(point.step > progress.best_step for point in progress.curve)
        return progress.step >= self.last_step or (patience is not None and since >= patience)

    def select_batch(self) -> list[TokenizedPair]:
        """What the next step trains on: a function of seed and step alone."""
        size = self.config.batch_size
        epoch, place = divmod(self.progress.step, math.ceil(len(self.job.train) / size))
        if self._epoch_batches[0] != epoch:
            self._epoch_batches = (epoch, order_epoch(self._lengths, size, self.config.seed, epoch))
        return [self.job.train[index] for index in self._epoch_batches[1][place]]

    def compute_token_weight(self, pairs: Sequence[TokenizedPair]) -> float:
        """What each target token counts in the loss of these pairs."""
        return 1 / (sum(len(pair.target_ids) for pair in pairs) if self.config.loss == "token-mean" else len(pairs))

    def update(self, nats: float, count: int) -> None:
        """One optimizer step from the gradients that a pass left; `nats` over `count` target tokens was its loss.

        Raises:
            TrainingError: loss, gradient or step is not finite.
        """
        progress = self.progress
        rate = self._compute_rate(progress.step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm))
        if not math.isfinite(nats) or not math.isfinite(norm):
            raise _make_not_finite_error("loss and gradient", f"{nats / count} and {norm}", progress.step, rate)
        if rate > _HIGHEST_RATE:
            raise _make_not_finite_error("step", f"a step of {rate:g}", progress.step, rate)
        self.is_consistent = False
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.loss_sum += nats
        progress.loss_tokens += count
        self.is_consistent = True

    def record_validation(self, loss: float) -> None:
        """A point of the curve, and the best delta so far; `loss` in nats a target token. Raises as `update`."""
        progress = self.progress
        if not math.isfinite(loss):
            rate = self._compute_rate(progress.step - 1) if progress.step else 0.0
            raise _make_not_finite_error("validation loss", str(loss), progress.step, rate)
        train_loss = progress.loss_sum / progress.loss_tokens if progress.loss_tokens else None
        self.is_consistent = False
        progress.curve.append(CurvePoint(progress.step, train_loss, loss))
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        if loss < progress.best_loss:
            progress.best_step, progress.best_loss, self.best_delta = progress.step, loss, self.module.collapse()
        self.is_consistent = True

    def save(self) -> None:
        """Put all that is needed to go on into the job's state, where it has one. Raises WorkspaceError."""
        if self.job.state is not None and self.is_consistent:
            save_state(
                self.job.state, self.job.run_key, self.progress, self.module, self.optimizer, self.best_delta.tensors
            )

    def collect_metrics(self) -> dict[str, float]:
        """What the last validation tells a tracker."""
        point = self.progress.curve[-1]
        metrics = {"validation_loss": point.validation_loss}
        if point.train_loss is not None:
            metrics |= {"train_loss": point.train_loss, "learning_rate": self._compute_rate(point.step - 1)}
        return metrics

    @property
    def train_loss(self) -> float | None:
        """Mean over the steps since the last validation but one; none where no step was measured."""
        losses = [point.train_loss for point in self.progress.curve if point.train_loss is not None]
        return losses[-1] if losses else None

    def make_result(self, untrained_loss: float) -> TrainResult:
        """The best delta, and how the run went; `untrained_loss` is the training loss where no step was measured."""
        progress = self.progress
        return TrainResult(
            delta=self.best_delta,
            steps=progress.step,
            best_step=progress.best_step,
            train_loss=untrained_loss if self.train_loss is None else self.train_loss,
            validation_loss=progress.best_loss,
            seconds=progress.seconds,
            resumed_from=self.resumed_from,
            start_description=self.start_description,
            origin=progress.origin,
            curve=tuple(progress.curve),
        )

    def _compute_rate(self, step: int) -> float:
        config = self.config
        return compute_learning_rate(
            step, peak=config.learning_rate, warmup_steps=config.warmup_steps, max_steps=config.max_steps
        )

    def _resume_or_start(self) -> str:
        began = "warm" if self.job.origin else "clean"
        if self.job.state is None:
            return f"{began}: nothing to resume from"
        found = load_state(self.job.state, self.job.run_key, self.module, self.optimizer)
        if isinstance(found, str):
            return f"{began}: {found}"
        self.progress, best = found
        self.best_delta = make_delta_from_tensors(self.config.method, best, self.config)
        return f"resumed at step {self.progress.step}"


def sample_evenly(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """At most VALIDATION_EXAMPLES of the pairs, evenly spaced."""
    return pairs[:: max(1, math.ceil(len(pairs) / VALIDATION_EXAMPLES))]


def _make_not_finite_error(what: str, got: str, step: int, rate: float) -> TrainingError:
    got = f"{got} at step {step} (learning rate {rate:g})"
    return TrainingError(f"a finite {what}", got, "lower train.learning_rate, or use float32 for the base")
