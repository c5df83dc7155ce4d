"""One training run's tensors and numbers: an update, a validation, the best delta so far.

Knows steps; does not know when to save, to stop or to tell anybody.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from components.config import TrainConfig
from components.data.batches import Batch, collate, epoch_order
from components.data.tokens import Encoded
from components.errors import TrainingError
from components.model.base import Base
from components.model.checkpointing import checkpointed
from components.model.delta import Delta, delta_from_tensors
from components.model.trainable import TrainableDelta
from components.training.checkpoint import Point, Progress, load_state
from components.training.objective import mean_loss, target_loss_of
from components.training.schedule import learning_rate

Pair = TypeVar("Pair")
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
    start: str
    """How the run started, in words: resumed, or warm or clean and why it was not resumed."""
    origin: str
    """The `origin` that the first part of the run was given."""
    curve: tuple[Point, ...]
    """Every validation of the run, earlier parts included."""


class Run:
    """One run's tensors and numbers. `whole` is false while they are being changed and must not be saved."""

    def __init__(
        self,
        base: Base,
        train: Sequence[Encoded],
        validation: Sequence[Encoded],
        config: TrainConfig,
        module: TrainableDelta,
    ) -> None:
        self.base, self.train, self.config, self.module = base, train, config, module
        parameters = list(module.parameters()) or [torch.nn.Parameter(torch.zeros(0))]
        self.optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=config.weight_decay)
        self.progress = Progress()
        self.best: Delta = module.collapse()
        self.last = config.max_steps if module.trains else 0
        self.whole = True
        self._lengths = [pair.length for pair in train]
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self._validation = self._sample(validation)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside, added weights stay on the base, and it recomputes activations where the config says so."""
        weights = self.module.delta().weights
        with ExitStack() as stack:
            if weights is not None:
                stack.enter_context(weights.applied(self.base.model))
            if self.config.gradient_checkpointing:
                stack.enter_context(checkpointed(self.base.model))
            yield

    @property
    def due(self) -> bool:
        """Whether this step wants a validation."""
        return self.progress.step % self.config.validate_every == 0 or self.progress.step == self.last

    @property
    def began(self) -> str:
        """How a run without an earlier state begins, in a word."""
        return "warm" if self.progress.origin else "clean"

    def resume(self, state: Path, run_key: str) -> str:
        """Go on from a saved state where there is one that fits; tells how the run begins."""
        found = load_state(state, run_key, self.module, self.optimizer)
        if isinstance(found, str):
            return f"{self.began}: {found}"
        self.progress, best = found
        self.best = delta_from_tensors(self.config.method, best, self.config)
        return f"resumed at step {self.progress.step}"

    def update(self) -> None:
        """One optimizer step. Raises TrainingError when loss or gradient is not finite."""
        progress = self.progress
        rate = self._rate(progress.step)
        batch = self._batch(progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        with target_loss_of(self.base, self.module.delta(), batch) as (loss, count):
            scale = count if self.config.loss == "token-mean" else len(batch.input_ids_BT)
            (loss / scale).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        loss_sum = float(loss.detach())
        if not math.isfinite(loss_sum) or not math.isfinite(float(norm)):
            raise _not_finite("loss and gradient", f"{loss_sum / count} and {float(norm)}", progress.step, rate)
        self.whole = False
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        progress.step += 1
        progress.loss_sum += loss_sum
        progress.loss_tokens += count
        self.whole = True

    def validate(self) -> None:
        """A point of the curve, and the best delta so far. Raises TrainingError as `update`."""
        progress = self.progress
        with torch.no_grad():
            loss = mean_loss(self.base, self.module.delta(), self._validation)
        if not math.isfinite(loss):
            rate = self._rate(progress.step - 1) if progress.step else 0.0
            raise _not_finite("validation loss", str(loss), progress.step, rate)
        train_loss = progress.loss_sum / progress.loss_tokens if progress.loss_tokens else None
        self.whole = False
        progress.curve.append(Point(progress.step, train_loss, loss))
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        if loss < progress.best_loss:
            progress.best_step, progress.best_loss, self.best = progress.step, loss, self.module.collapse()
        self.whole = True

    def metrics(self) -> dict[str, float]:
        """What the last validation tells a tracker."""
        point = self.progress.curve[-1]
        metrics = {"validation_loss": point.validation_loss}
        if point.train_loss is not None:
            metrics |= {"train_loss": point.train_loss, "learning_rate": self._rate(point.step - 1)}
        return metrics

    def result(self, resumed_from: int, start: str) -> TrainResult:
        """The best delta, and how the run went."""
        progress = self.progress
        losses = [point.train_loss for point in progress.curve if point.train_loss is not None]
        if not losses:
            losses = [mean_loss(self.base, self.best, self._sample(self.train))]
        return TrainResult(
            delta=self.best,
            steps=progress.step,
            best_step=progress.best_step,
            train_loss=losses[-1],
            validation_loss=progress.best_loss,
            seconds=progress.seconds,
            resumed_from=resumed_from,
            start=start,
            origin=progress.origin,
            curve=tuple(progress.curve),
        )

    def _rate(self, step: int) -> float:
        config = self.config
        return learning_rate(
            step, peak=config.learning_rate, warmup_steps=config.warmup_steps, max_steps=config.max_steps
        )

    def _batch(self, step: int) -> Batch:
        epoch, place = divmod(step, math.ceil(len(self.train) / self.config.batch_size))
        if self._epoch[0] != epoch:
            self._epoch = (epoch, epoch_order(self._lengths, self.config.batch_size, self.config.seed, epoch))
        return self._collated([self.train[index] for index in self._epoch[1][place]])

    def _sample(self, pairs: Sequence[Encoded]) -> list[Batch]:
        size = 2 * self.config.batch_size
        chosen = sorted(spaced(pairs), key=lambda pair: pair.length)
        return [self._collated(chosen[start : start + size]) for start in range(0, len(chosen), size)]

    def _collated(self, pairs: Sequence[Encoded]) -> Batch:
        return collate(pairs, self.base.pad_id, encoder_decoder=self.base.is_encoder_decoder)


def spaced(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """At most VALIDATION_EXAMPLES of the pairs, evenly spaced."""
    return pairs[:: max(1, math.ceil(len(pairs) / VALIDATION_EXAMPLES))]


def _not_finite(what: str, got: str, step: int, rate: float) -> TrainingError:
    got = f"{got} at step {step} (learning rate {rate:g})"
    return TrainingError(f"a finite {what}", got, "lower train.learning_rate, or use float32 for the base")
