"""Estimates of the memory that training takes: per token in a pass, and per tenant.

Knows sizes; does not know steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from components.config import EngineConfig
from components.data.pairs import TokenizedPair, count_pair_tokens
from components.model.base.free_memory import read_free_bytes
from components.model.base.load import Base
from components.model.base.quantization import list_stored_tensors
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.model.ranks import count_ranks, run_on_all_ranks
from components.model.trainable_delta import TrainableDelta
from components.training.objective import StepDeltas, TrainingExample

_GIB = 2**30
_PASS_SHARE, _TENANT_SHARE = 0.5, 0.25
"""Shares of the free memory: for the tensors that a pass keeps, and for the tenants' own tensors."""
TRAINED_COPIES, MADE_COPIES = 4, 2
"""Copies in float32: of a parameter (itself, gradient, two Adam moments), of a delta (the best one, the pass's one)."""


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Limits of one shard."""

    pass_tokens: int
    """Tokens in one pass."""
    tenant_bytes: float
    """Bytes of the own tensors of all tenants in training."""

    @classmethod
    def estimate(cls, base: Base, engine: EngineConfig) -> "MemoryBudget":
        """Compute the limits from `engine` and the free memory, which processes on a CPU divide among them."""
        free = read_free_bytes(base.device) if engine.memory_gb is None else engine.memory_gb * _GIB
        free /= engine.processes * count_ranks() if base.device.type == "cpu" else 1
        fits = int(_PASS_SHARE * free / run_on_all_ranks(measure_token_bytes, base))
        return cls(max(1, min(engine.train_tokens, fits)), _TENANT_SHARE * free)


def estimate_tenant_bytes(module: TrainableDelta, train: Sequence[TokenizedPair]) -> float:
    """Return the bytes of one tenant in training: parameters, gradients, optimizer state, deltas and token ids."""
    trained = sum(parameter.numel() for parameter in module.parameters())
    made = sum(tensor.numel() for tensor in module.make_delta().tensors.values())
    return 4.0 * (TRAINED_COPIES * trained + MADE_COPIES * made) + 4.0 * float(count_pair_tokens(train).sum())


def measure_token_bytes(base: Base) -> float:
    """Return the bytes that a pass keeps per token for `backward`, measured on two short passes."""
    short, long = (_measure_kept_bytes(base, tokens) for tokens in (8, 24))
    return max(1.0, (long - short) / 16)


def _measure_kept_bytes(base: Base, tokens: int) -> int:
    """Return the bytes that a pass over one row keeps, without the model's own parameters."""
    own = {
        stored.untyped_storage().data_ptr()
        for parameter in base.model.parameters()
        for stored in list_stored_tensors(parameter)
    }
    sizes: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        for stored in list_stored_tensors(tensor):
            storage = stored.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    prefix = make_random_prefix(base.shape, 1, 0).to(device=base.device)
    for tensor in prefix.tensors.values():
        tensor.requires_grad_()
    half = tokens // 2
    row = TrainingExample(0, TokenizedPair((base.eos_id,) * half, (base.eos_id,) * half))
    with saved_tensors_hooks(record, lambda tensor: tensor):
        StepDeltas(base, [Delta(prefix=prefix)]).backward([row])
    return sum(sizes.values())
