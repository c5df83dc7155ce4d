"""Run the passes of a step on a base that is divided among processes: every rank computes all rows with its own heads.

A rank's gradients are those of the slots of its own heads, and zero elsewhere: their sum is that of the whole prefix.
Rank 0 has the tenants, their optimizers and their files. Knows passes; does not know optimizers or steps.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from components.config import EngineConfig
from components.errors import BaseModelError, ConfigError
from components.model.base.blocks import find_last_block
from components.model.base.checkpointing import checkpoint_blocks, is_checkpointed
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.packing import is_packable
from components.model.prefix.prefix import Prefix
from components.model.ranks import get_rank, run_on_all_ranks
from components.training.distributed.passes import PassRunner, run_local_passes
from components.training.objective import LossSums, StepDeltas, TrainingExample


class RankPassRunner(PassRunner):
    """Runs all passes on all ranks; used on rank 0."""

    def __init__(self, base: Base, engine: EngineConfig) -> None:
        """Raises ConfigError with `engine.processes`, BaseModelError for a base whose rows cannot be packed."""
        if engine.processes > 1:
            got = f"engine.processes: {engine.processes}, and processes of torchrun"
            raise ConfigError("one way to train with several processes", got, "set engine.processes to 1")
        if not is_packable(base.model):
            got = f"{type(base.model).__name__}, whose rows are padded"
            raise BaseModelError("a base with packed rows, for training with torchrun", got, "train without torchrun")

    def run_passes(
        self, deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool, checkpointing: bool
    ) -> LossSums:
        """See `PassRunner.run_passes`.

        Raises:
            TrainingError: out of memory, or a rank has ended.
        """
        base = deltas.base
        checkpointing = is_checkpointed(find_last_block(base.model))
        prefixes = [
            None if prefix is None else {name: tensor.detach() for name, tensor in prefix.tensors.items()}
            for prefix in deltas.prefixes
        ]
        sums, gradients = run_on_all_ranks(compute_passes, base, prefixes, list(rows), tokens, train, checkpointing)
        for leaf, gradient in zip(deltas.leaves, gradients, strict=True):
            if train and leaf.requires_grad:
                leaf.grad = gradient
        result: LossSums = sums
        return result


def compute_passes(
    base: Base,
    prefixes: Sequence[Mapping[str, Tensor] | None],
    rows: Sequence[TrainingExample],
    tokens: int,
    train: bool,
    checkpointing: bool,
) -> tuple[LossSums, list[Tensor]]:
    """Run all passes on this rank; return the sums, and the gradients of the leaves summed over the ranks."""
    deltas = StepDeltas(base, [_make_delta(base, named, train=train) for named in prefixes])
    # rank 0 has checkpointed its blocks already
    with checkpoint_blocks(base.model) if checkpointing and get_rank() else nullcontext():
        sums = run_local_passes(deltas, rows, tokens, train=train)
    gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in deltas.leaves]
    if train:
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
    return sums, gradients


def _make_delta(base: Base, named: Mapping[str, Tensor] | None, *, train: bool) -> Delta:
    if named is None:
        return Delta()
    return Delta(prefix=Prefix({name: one.to(base.device).requires_grad_(train) for name, one in named.items()}))
