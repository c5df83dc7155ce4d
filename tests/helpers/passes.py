"""One pass of three tenants' rows on a base, for tests that compare devices."""

import torch
from torch import Tensor

from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.base.shapes import INFIX
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix
from components.training.objective import StepDeltas, TrainingExample

LENGTHS = (4, 1, 7)
"""Slots of the tenants in a pass."""


def make_prefixes(base: Base, *, infix: bool = False) -> list[Prefix]:
    prefixes = [make_random_prefix(base.shape, length, seed, 0.5) for seed, length in enumerate(LENGTHS)]
    if infix:
        prefixes = [Prefix.from_site(prefix.stack_decoder_site(), INFIX) for prefix in prefixes]
    return [prefix.to(device=base.device) for prefix in prefixes]


def run_pass(base: Base, pairs: list[TokenizedPair], *, infix: bool = False) -> tuple[Tensor, Tensor]:
    """Return the tenants' losses and the gradient of all of their prefixes."""
    prefixes = make_prefixes(base, infix=infix)
    values = [tensor.requires_grad_() for prefix in prefixes for tensor in prefix.tensors.values()]
    deltas = StepDeltas(base, [Delta(prefix=prefix) for prefix in prefixes])
    rows = [TrainingExample(number % len(LENGTHS), pair, 1 / len(pairs)) for number, pair in enumerate(pairs)]
    sums = deltas.backward(rows)
    deltas.propagate_gradients()
    torch.testing.assert_close(deltas.compute_sums(rows).nats_U, sums.nats_U, rtol=1e-5, atol=1e-5)
    return sums.nats_U.cpu(), torch.cat([one.grad.flatten().float().cpu() for one in values if one.grad is not None])


def compare(found: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference, as a share of the norm."""
    return float((found - wanted).norm() / wanted.norm())
