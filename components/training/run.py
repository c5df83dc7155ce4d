"""One tenant's training run: its tensors and numbers, the rows of its next step, and the update from gradients.

Knows one tenant's steps; does not know the other tenants in a pass, nor when to save, stop or log.
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
"""Adam's first step is ten times the learning rate, and float32 must be able to hold it."""
VALIDATION_EXAMPLES = 128
"""Most examples in a validation loss; of more, evenly spaced ones are used."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The best delta of a run, by validation loss, and figures of the run. Losses in nats per target token."""

    delta: Delta
    steps: int
    """Updates done; fewer than `max_steps` if `stop` or early stopping ended the run."""
    best_step: int
    train_loss: float
    """Mean over the steps between the last two validations."""
    validation_loss: float
    """Of the best delta."""
    seconds: float
    """Wall time of training, including the earlier parts of a resumed run."""
    tokens: int
    """Tokens of sources and targets that the steps read, also those of the earlier parts of a resumed run."""
    resumed_from: int
    """Step of the checkpoint from which the run resumed; 0 if it did not resume."""
    start_description: str
    """How the run started, for people: "resumed ...", or "warm" or "clean" with the reason why it did not resume."""
    origin: str
    """`TrainingJob.origin` of the first part of the run."""
    curve: tuple[CurvePoint, ...]
    """Every validation of the run, including earlier parts."""


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """The inputs of a run."""

    config: TrainConfig
    module: TrainableDelta
    """Trained in place."""
    train: Sequence[TokenizedPair]
    validation: Sequence[TokenizedPair]
    tenant: str = ""
    state: Path | None = None
    """Folder of the checkpoint; None for a run that is not saved."""
    run_key: str = ""
    """A job resumes from a checkpoint with the same key; one with another key is ignored and overwritten."""
    origin: str = ""
    """What `module` starts from in a warm start, else "". It is saved: a resumed run keeps its first part's origin."""
    log: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None
    """Called at every validation (also at step 0) with the step and `validation_loss`; after the first step also with
    `train_loss` and `learning_rate`."""
    stop: Callable[[], bool] = lambda: False
    """Called before every step; True stops and saves the run."""


class TenantRun:
    """One run's tensors and numbers."""

    def __init__(self, job: TrainingJob) -> None:
        """Start, or resume from the job's checkpoint."""
        self.job, self.config, self.module = job, job.config, job.module
        parameters = list(self.module.parameters()) or [torch.nn.Parameter(torch.zeros(0))]
        self.optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=self.config.weight_decay)
        self.progress = RunProgress(origin=job.origin)
        self.best_delta: Delta = self.module.collapse()
        self.last_step = self.config.max_steps if self.module.is_trainable else 0
        self.is_consistent = True
        """False during an update, when the run must not be saved."""
        self.is_stopped = False
        """Whether the job's `stop` ended the run."""
        self.validation_examples = sample_evenly(job.validation)
        self._lengths: list[int] = count_pair_tokens(job.train).sum(axis=1).tolist()
        self._epoch_batches: tuple[int, list[list[int]]] = (-1, [])
        self.start_description = self._resume_or_start()
        self.resumed_from = self.progress.step

    @contextmanager
    def install(self, model: Any) -> Iterator[None]:
        """Apply the run's own weights, if any, and gradient checkpointing, if configured, to the base in the block."""
        weights = self.module.make_delta().weights
        with ExitStack() as stack:
            if weights is not None:
                stack.enter_context(weights.apply(model))
            if self.config.gradient_checkpointing:
                stack.enter_context(checkpoint_blocks(model))
            yield

    @property
    def is_validation_due(self) -> bool:
        """Whether a validation is due at this step and was not done yet."""
        progress = self.progress
        return not progress.is_validated and (
            progress.step % self.config.validate_every == 0 or progress.step >= self.last_step
        )

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done, or early stopping applies: `patience` validations without a better loss."""
        progress, patience = self.progress, self.config.patience
        without_gain = sum(point.step > progress.best_step for point in progress.curve)
        return progress.step >= self.last_step or (patience is not None and without_gain >= patience)

    def select_batch(self) -> list[TokenizedPair]:
        """Return the pairs of the next step: a function of seed and step only."""
        size = self.config.batch_size
        epoch, batch = divmod(self.progress.step, math.ceil(len(self.job.train) / size))
        if self._epoch_batches[0] != epoch:
            self._epoch_batches = (epoch, order_epoch(self._lengths, size, self.config.seed, epoch))
        return [self.job.train[index] for index in self._epoch_batches[1][batch]]

    def compute_token_weight(self, pairs: Sequence[TokenizedPair]) -> float:
        """Return the weight of each target token in the loss of these pairs."""
        return 1 / (sum(pair.loss_tokens for pair in pairs) if self.config.loss == "token-mean" else len(pairs))

    def update(self, nats: float, count: int) -> None:
        """Do one optimizer step with the gradients of a step whose loss was `nats` over `count` target tokens.

        Raises:
            TrainingError: the loss, the gradient or the learning rate is not finite or too large for float32.
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
        """Add a point to the learning curve; copy the weights to `best_delta` if `loss` is the lowest so far.

        `loss` is in nats per target token.

        Raises:
            TrainingError: the loss is not finite.
        """
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
        """Write a checkpoint, if the job has a folder for it. Raises WorkspaceError."""
        if self.job.state is not None and self.is_consistent:
            save_state(
                self.job.state, self.job.run_key, self.progress, self.module, self.optimizer, self.best_delta.tensors
            )

    def collect_metrics(self) -> dict[str, float]:
        """Return the metrics of the last validation, as `TrainingJob.log` gets them."""
        point = self.progress.curve[-1]
        metrics = {"validation_loss": point.validation_loss}
        if point.train_loss is not None:
            metrics |= {"train_loss": point.train_loss, "learning_rate": self._compute_rate(point.step - 1)}
        return metrics

    @property
    def train_loss(self) -> float | None:
        """Mean over the steps between the last two validations; None before the first step."""
        losses = [point.train_loss for point in self.progress.curve if point.train_loss is not None]
        return losses[-1] if losses else None

    def make_result(self, untrained_loss: float) -> TrainResult:
        """Return the result; `untrained_loss` is its training loss if no step was done."""
        progress = self.progress
        return TrainResult(
            delta=self.best_delta,
            steps=progress.step,
            best_step=progress.best_step,
            train_loss=untrained_loss if self.train_loss is None else self.train_loss,
            validation_loss=progress.best_loss,
            seconds=progress.seconds,
            tokens=progress.tokens,
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
        start = "warm" if self.job.origin else "clean"
        if self.job.state is None:
            return f"{start}: nothing to resume from"
        loaded = load_state(self.job.state, self.job.run_key, self.module, self.optimizer)
        if isinstance(loaded, str):
            return f"{start}: {loaded}"
        self.progress, best = loaded
        self.best_delta = make_delta_from_tensors(self.config.method, best, self.config)
        return f"resumed at step {self.progress.step}"


def sample_evenly(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Return at most VALIDATION_EXAMPLES of the pairs, evenly spaced."""
    return pairs[:: max(1, math.ceil(len(pairs) / VALIDATION_EXAMPLES))]


def _make_not_finite_error(what: str, got: str, step: int, rate: float) -> TrainingError:
    got = f"{got} at step {step} (learning rate {rate:g})"
    return TrainingError(f"a finite {what}", got, "lower train.learning_rate, or use float32 for the base")
