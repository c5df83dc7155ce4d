"""Estimate the memory that training takes on a base before there is a tenant: weights, a pass, the tenants' tensors.

The formulas are those of docs/bases.md. A shard itself measures its budget (`memory`) and adapts; this is for planning.
"""

import math
from dataclasses import dataclass

from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.base.peak_bytes import RowCost
from components.model.base.weight_bytes import count_weight_bytes
from components.model.delta import Delta
from components.model.packing import is_packable
from components.model.packing.attention import MAX_FUSED_SCORES
from components.model.prefix.initialization import make_random_prefix
from components.training.memory import MADE_COPIES, TRAINED_COPIES
from components.training.objective import StepDeltas, TrainingExample
from components.training.shard import PASSES_AHEAD

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLoad:
    """What is to be trained at once; lengths in tokens."""

    tenants: int
    prefix_length: int
    batch_size: int
    """Examples per step of a tenant."""
    input_tokens: int
    output_tokens: int
    pass_tokens: int
    """Most tokens in one pass: `engine.train_tokens`."""

    @property
    def row_tokens(self) -> int:
        """Tokens of one example."""
        return self.input_tokens + self.output_tokens

    @property
    def tenants_together(self) -> int:
        """Tenants that share passes: as many as fill them."""
        filling = math.ceil(PASSES_AHEAD * self.pass_tokens / (self.batch_size * self.row_tokens))
        return max(1, min(self.tenants, filling))

    @property
    def pass_rows(self) -> int:
        """Examples in one pass."""
        return max(1, min(self.tenants_together * self.batch_size, self.pass_tokens // self.row_tokens))


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes on the device."""

    weights: int
    largest_pass: int
    """What a forward keeps for the backward pass, and the gradients."""
    tenant_tensors: int
    """Parameters, gradients and optimizer states of the tenants in training together."""

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.largest_pass + self.tenant_tensors


def estimate_training_memory(base: Base, load: TrainingLoad) -> TrainingMemory:
    """Estimate the most that a shard takes while its prefixes are trained. The cost of a token is measured.

    Raises:
        BaseModelError: prefixes cannot be attached to the base.
    """
    slots = load.prefix_length * sum(site.size for site in base.shape.sites.values())
    row_slots = load.pass_rows * slots * base.model.dtype.itemsize  # each row of a pass has its copy
    return TrainingMemory(
        weights=count_weight_bytes(base.model),
        largest_pass=_estimate_pass(base, load) + row_slots,
        tenant_tensors=load.tenants_together * slots * _FLOAT_BYTES * (TRAINED_COPIES + MADE_COPIES),
    )


def _estimate_pass(base: Base, load: TrainingLoad) -> int:
    cost = _measure_row(base, load.output_tokens / load.row_tokens)
    tokens, columns = load.pass_rows * load.row_tokens, load.row_tokens + load.prefix_length
    scores = cost.pair_bytes * tokens * columns / (base.shape.layers * base.model.dtype.itemsize)
    if is_packable(base.model) and scores > MAX_FUSED_SCORES:  # attention keeps no scores then
        cost = RowCost(cost.token_bytes, 0.0)
    return cost.count_bytes(tokens, columns)


def _measure_row(base: Base, target_share: float) -> RowCost:
    def run_pass(rows: int, tokens: int) -> None:
        prefix = make_random_prefix(base.shape, 1, 0).to(device=base.device)
        for tensor in prefix.tensors.values():
            tensor.requires_grad_()
        targets = min(tokens - 1, max(1, round(tokens * target_share)))
        pair = TokenizedPair((base.eos_id,) * (tokens - targets), (base.eos_id,) * targets)
        StepDeltas(base, [Delta(prefix=prefix)]).backward([TrainingExample(0, pair)] * rows)

    return RowCost.measure(run_pass, base.context - 2)
