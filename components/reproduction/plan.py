"""Plan the cells of an experiment from a request, a base and a data set. Measures nothing.

A point is one line of a table or one point of a curve. Its cells differ only in seed and low-data sample; the table has
their mean.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from components.config import TrainConfig
from components.errors import BaseModelError
from components.reproduction.cells import PROTOCOL, Cell, DecodingSettings
from components.reproduction.presets import (
    LOW_DATA_STEPS,
    LOW_DATA_VALIDATE_EVERY,
    LOW_DATA_WARMUP_STEPS,
    METHODS,
    TASK_INIT_TEXTS,
    UNTRAINED_METHODS,
    MethodRecipe,
    find_recipe,
)
from components.reproduction.request import INIT_ROWS, ExperimentRequest
from components.reproduction.sampling import LARGEST_SAMPLE_SIZE
from components.reproduction.sources import PublishedDataset

_VALIDATIONS_PER_RUN = 20
_SUMMARY_SOURCE_TOKENS = 512
_SUMMARY_TARGET_TOKENS = 100
_MAX_SPECIAL_TOKENS = 4
"""Upper limit of the tokens (start, end, language codes) that an encoder's tokenizer adds to a source."""
_TABLE_DECODING = DecodingSettings(num_beams=5, max_new_tokens=100, banned=("\n",))
_SUMMARY_DECODING = DecodingSettings(num_beams=6, max_new_tokens=62, min_new_tokens=11, length_penalty=0.8)
_SLOT_METHODS = ("prefix", "infix", "embedding")


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The properties of a base that planning needs."""

    name: str
    digest: str
    parameters: int
    is_encoder_decoder: bool
    context: int
    slot_values: int
    """Number of values in one prefix slot, over all layers and kinds of attention."""


@dataclass(frozen=True, slots=True)
class TablePoint:
    """Cells that are reported as one line or point."""

    row: str
    label: str
    x: int | None
    """Number of training examples or slots, if the experiment varies it; otherwise None."""
    cells: tuple[Cell, ...]

    @property
    def published_row(self) -> str:
        """The row's name in the tables of published numbers, with its x value where it has one."""
        return self.row if self.x is None else f"{self.row} {self.x}"


def plan_points(request: ExperimentRequest, base: BaseFacts, data: PublishedDataset) -> list[TablePoint]:
    """Return all table points of the request, in the order of its tables.

    Raises:
        BaseModelError: the experiment needs an encoder-decoder base.
        ConfigError: the preset has no hyperparameters for a requested method.
        DataError: the data are too few for the requested number of disjoint low-data samples.
    """
    if request.experiment.needs_encoder_decoder and not base.is_encoder_decoder:
        got = f"{base.name}, which is decoder-only"
        fix = "pass another --base, such as facebook/bart-large"
        raise BaseModelError(f"an encoder-decoder base for {request.experiment.name}", got, fix)
    planner = _Planner(request, base, data)
    if request.experiment.low_data:
        data.select_training(max(request.sizes), request.samples - 1, max(request.sizes))
        return [planner.plan_low_data(row, size) for row in request.rows for size in request.sizes]
    if request.lengths:
        return [planner.plan_length(row, length) for row in request.rows for length in request.lengths]
    return [planner.plan_row(row) for row in request.rows]


class _Planner:
    def __init__(self, request: ExperimentRequest, base: BaseFacts, data: PublishedDataset) -> None:
        self.request, self.base, self.task = request, base, data.task
        self.training_pair_count, self.data_digest = data.training_pair_count, data.digest

    def plan_row(self, row: str) -> TablePoint:
        if row == "base":
            return TablePoint(row, METHODS[row][0], None, (self._make_cell(None),))
        if row in UNTRAINED_METHODS:
            return TablePoint(row, METHODS[row][0], None, (self._make_cell(self._make_untrained_config(row)),))
        return TablePoint(row, METHODS[row][0], None, self._make_seed_cells(row, self._find_recipe(row)))

    def plan_length(self, row: str, length: int) -> TablePoint:
        own = replace(self._find_recipe(row), prefix_length=length, prefix_share=0.0)
        return TablePoint(row, METHODS[row][0], length, self._make_seed_cells(row, own))

    def plan_low_data(self, row: str, size: int) -> TablePoint:
        if self.request.experiment.name == "init":
            label, words = INIT_ROWS[row]
            method, start = "prefix", {"initialization": "random" if row == "random" else "text", "init_text": words}
        else:
            words = TASK_INIT_TEXTS[self.task] if self.request.preset == "paper" else None
            label, method, start = METHODS[row][0], row, {"initialization": "text", "init_text": words}
        own = self._find_recipe(method)
        steps = min(LOW_DATA_STEPS, self.request.budget or LOW_DATA_STEPS)
        low = {
            "max_steps": steps,
            "warmup_steps": min(LOW_DATA_WARMUP_STEPS, steps // 4),
            "validate_every": LOW_DATA_VALIDATE_EVERY,
        }
        cells = tuple(
            self._make_cell(
                self._make_train_config(method, own, seed, **low, **(start if method == "prefix" else {})), size, sample
            )
            for sample in range(self.request.samples)
            for seed in self.request.seeds
        )
        return TablePoint(row, label, size, cells)

    def _make_seed_cells(self, method: str, own: MethodRecipe) -> tuple[Cell, ...]:
        return tuple(self._make_cell(self._make_train_config(method, own, seed)) for seed in self.request.seeds)

    def _find_recipe(self, method: str) -> MethodRecipe:
        return find_recipe(self.request.preset, self.task, method)

    def _make_train_config(self, method: str, own: MethodRecipe, seed: int, **more: Any) -> TrainConfig:
        steps = own.epochs * math.ceil(self.training_pair_count / own.batch_size)
        steps = steps if self.request.budget is None else min(steps, self.request.budget)
        values: dict[str, Any] = {
            "learning_rate": own.learning_rate,
            "batch_size": own.batch_size,
            "loss": own.loss,
            "weight_decay": own.weight_decay,
            "max_steps": steps,
            "warmup_steps": min(own.warmup_steps, steps // 4),
            "validate_every": max(1, math.ceil(steps / _VALIDATIONS_PER_RUN)),
            "max_source_tokens": self._limit_source_tokens(self._compute_prefix_length(own)),
            "seed": seed,
        }
        if METHODS[method][1]["method"] in _SLOT_METHODS:
            values |= {"prefix_length": self._compute_prefix_length(own), "mlp_hidden": own.mlp_hidden}
            values["initialization"] = own.initialization
        return TrainConfig.model_validate({**values, **METHODS[method][1], **own.extra_train_keys, **more})

    def _make_untrained_config(self, method: str) -> TrainConfig:
        values = {**METHODS[method][1], "max_source_tokens": self._limit_source_tokens(0), "max_steps": 0}
        return TrainConfig.model_validate(values)

    def _compute_prefix_length(self, own: MethodRecipe) -> int:
        if own.prefix_share:
            return max(1, round(own.prefix_share * self.base.parameters / self.base.slot_values))
        return own.prefix_length

    def _limit_source_tokens(self, slots: int) -> int | None:
        if self.task != "summarisation":
            return None
        if self.base.is_encoder_decoder:
            return min(_SUMMARY_SOURCE_TOKENS, self.base.context - _MAX_SPECIAL_TOKENS)
        return min(_SUMMARY_SOURCE_TOKENS, self.base.context - 1 - slots - _SUMMARY_TARGET_TOKENS)

    def _make_cell(self, train: TrainConfig | None, size: int | None = None, sample: int | None = None) -> Cell:
        return Cell(
            protocol=PROTOCOL,
            base_digest=self.base.digest,
            data_digest=self.data_digest,
            train=train,
            size=size,
            sample=sample,
            largest=max(LARGEST_SAMPLE_SIZE, *self.request.sizes) if size is not None else None,
            decoding=_SUMMARY_DECODING if self.task == "summarisation" else _TABLE_DECODING,
            inputs=self.request.inputs,
            max_source_tokens=train.max_source_tokens if train else self._limit_source_tokens(0),
            suite=self.task,
            slicing="length" if self.request.experiment.slicing_by_length else "data",
        )
