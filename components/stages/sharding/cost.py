"""How long tenants will train: operations from their data, parameters and base; rates from earlier trainings.

Tokens are estimated from bytes, and a rate is what was measured with the same estimate, so a constant error of the
estimate cancels. Does not know how tenants are divided into shards.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import Params
from components.data.schema import SPLITS
from components.stages.plan import PlanItem
from components.stages.stamps import read_json, write_json
from components.stages.workspace import Workspace

_BYTES_PER_TOKEN = 4.0
_FORWARD = 2.0
"""Operations per token and parameter of the base, forwards."""
_BACKWARD = 2.0
"""Backwards through a frozen base: the gradients of the activations alone."""
_OWN_WEIGHTS_BACKWARD = 4.0
_OWN_WEIGHTS_METHODS = frozenset({"full", "top-k"})
_SUBJECTS_DECODED = 2
"""The prefix and the base alone; the champion's score is often kept."""
RATES_FILE = "training-rates.json"
"""In var/: rates of whole shards, with evaluation and waiting."""
_NEW_SHARE = 0.5
"""Share of the newest measurement in a rate."""


@dataclass(frozen=True, slots=True)
class SplitSize:
    """How many examples a split has, and the bytes of its lines."""

    examples: int
    size_bytes: int

    @property
    def tokens(self) -> float:
        """About how many tokens."""
        return self.size_bytes / _BYTES_PER_TOKEN

    def add(self, other: "SplitSize") -> "SplitSize":
        """Return the size of both."""
        return SplitSize(self.examples + other.examples, self.size_bytes + other.size_bytes)


NOTHING = SplitSize(0, 0)


def estimate_operations(workspace: Workspace, item: PlanItem, base_parameters: int) -> float:
    """Return the operations of a tenant's training and evaluation; without training if the item has no reason."""
    params = workspace.params.for_tenant(item.tenant)
    splits = {split: _measure_split(workspace.data / item.tenant / f"{split}.jsonl") for split in SPLITS}
    tokens = _estimate_evaluation_tokens(params, splits[params.evaluate.split])
    operations = tokens * _FORWARD
    if item.reason:
        steps = count_steps(item)
        validations = 1 + steps // item.train.validate_every
        operations += validations * splits["validation"].tokens * _FORWARD
        operations += _estimate_step_tokens(item, splits["train"]) * _count_operations(item)
    return operations * base_parameters


def measure_train_split(workspace: Workspace, tenant: str) -> SplitSize:
    """Return the size of a tenant's training split; nothing if it has none."""
    return _measure_split(workspace.data / tenant / "train.jsonl")


def estimate_step_tokens(workspace: Workspace, item: PlanItem, added: SplitSize = NOTHING) -> float:
    """Return the tokens that a tenant's training reads in all its steps; `added` comes to its training split first."""
    return _estimate_step_tokens(item, measure_train_split(workspace, item.tenant).add(added))


def estimate_step_operations(
    workspace: Workspace, item: PlanItem, base_parameters: int, added: SplitSize = NOTHING
) -> float:
    """Return the operations of the steps of a tenant's training, without its validations and its evaluation."""
    return estimate_step_tokens(workspace, item, added) * _count_operations(item) * base_parameters


def count_steps(item: PlanItem) -> int:
    """Return the most steps of a tenant's training."""
    return 0 if item.train.method == "in-context" else item.train.max_steps


def _measure_split(path: Path) -> SplitSize:
    try:
        content = path.read_bytes()
    except OSError:
        return NOTHING
    return SplitSize(content.count(b"\n"), len(content))


def _estimate_step_tokens(item: PlanItem, data: SplitSize) -> float:
    return count_steps(item) * item.train.batch_size * data.tokens / max(1, data.examples)


def _count_operations(item: PlanItem) -> float:
    """Return the operations of a step per token and parameter of the base."""
    train = item.train
    backward = _OWN_WEIGHTS_BACKWARD if train.method in _OWN_WEIGHTS_METHODS else _BACKWARD
    return (2 if train.gradient_checkpointing else 1) * _FORWARD + backward


def _estimate_evaluation_tokens(params: Params, split: SplitSize) -> float:
    config = params.evaluate
    limit = config.max_examples or split.examples
    share = min(1.0, limit / max(1, split.examples))
    decoded = min(limit, split.examples) * config.max_new_tokens * config.num_beams
    return _SUBJECTS_DECODED * (share * split.tokens + decoded)


class TrainingRates:
    """Operations per second by kind of device, as earlier trainings measured them; kept in a JSON file."""

    def __init__(self, path: Path) -> None:
        """Read the file; one that is missing or broken counts as none."""
        self._path = path
        values: Any = read_json(path)
        rates = values.get("operations_per_second") if isinstance(values, dict) else None
        self._rates: dict[str, float] = {
            str(kind): float(rate)
            for kind, rate in (rates if isinstance(rates, dict) else {}).items()
            if isinstance(rate, int | float) and rate > 0
        }

    def estimate_seconds(self, operations: float) -> float | None:
        """Return the time on a device of the mean rate; None if nothing was measured yet."""
        return operations * len(self._rates) / sum(self._rates.values()) if self._rates else None

    def record(self, kind: str, operations: float, seconds: float) -> None:
        """Take a shard's training on a kind of device into its rate, and save. Raises WorkspaceError."""
        if operations <= 0 or seconds <= 0:
            return
        measured = operations / seconds
        known = self._rates.get(kind)
        self._rates[kind] = measured if known is None else _NEW_SHARE * measured + (1 - _NEW_SHARE) * known
        write_json(self._path, {"operations_per_second": self._rates})
