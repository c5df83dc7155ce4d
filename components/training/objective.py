"""The loss of many tenants' rows in one pass: negative log likelihood of the target tokens only.

There are two layouts with the same result up to rounding. Packed: rows end to end, without padding, for decoder-only
bases. Padded: one row per batch entry, for every base. Knows rows and deltas; does not know optimizers or steps.

Shapes: B rows, T tokens of a row, N tokens of all rows, M target tokens of all rows, U tenants.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.data.batches import IGNORED_LABEL, collate
from components.data.pairs import TokenizedPair, count_pair_tokens
from components.model.base.load import Base
from components.model.base.output_head import capture_head_inputs, has_plain_head, keep_logits_at
from components.model.base.row_sums import add_rows
from components.model.delta import Delta, apply_deltas
from components.model.packing import is_packable, pack_rows, stack_slots
from components.model.packing.layout import PackedLayout
from components.model.prefix.prefix import Prefix
from components.training.cross_entropy import compute_chunked_cross_entropy, compute_cross_entropy


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One row of a pass."""

    tenant_index: int
    pair: TokenizedPair
    token_weight: float = 1.0
    """Weight of each of its target tokens in the total loss."""


@dataclass(frozen=True, slots=True)
class LossSums:
    """Loss and target tokens of some rows, summed per tenant."""

    nats_U: Tensor
    """Negative log likelihood in nats, unweighted, float64."""
    count_U: Tensor
    """Target tokens."""

    @classmethod
    def make_zeros(cls, tenants: int, device: torch.device) -> "LossSums":
        """Return the sums of no rows."""
        return cls(
            torch.zeros(tenants, dtype=torch.float64, device=device),
            torch.zeros(tenants, dtype=torch.long, device=device),
        )

    def __add__(self, other: "LossSums") -> "LossSums":
        return LossSums(self.nats_U + other.nats_U, self.count_U + other.count_U)


@dataclass(frozen=True, slots=True)
class _ForwardInputs:
    """The inputs of one forward, and its targets."""

    model_inputs: dict[str, Any]
    kept_BT: Tensor
    """Mask of the positions that predict a target token."""
    target_M: Tensor
    """The target tokens."""
    example_index_M: Tensor
    """The row of each target token."""


class StepDeltas:
    """The deltas of U tenants in one step, computed once and shared by all passes of the step.

    The passes see detached views, the leaves. Each `backward` adds the gradients of one pass to the leaves;
    `propagate_gradients`, called once, carries them to the tenants' parameters.
    """

    def __init__(self, base: Base, deltas: Sequence[Delta]) -> None:
        """`deltas` must all have the same `weights`, and either all or none of them are infixes."""
        self.has_own_weights = deltas[0].weights is not None
        self.base, self.tenant_count = base, len(deltas)
        self.is_packed = not self.has_own_weights and is_packable(base.model)
        self.use_fused_loss = not self.has_own_weights and has_plain_head(base.model)
        self.prefixes = prefixes = [delta.compute_prefix(base) for delta in deltas]
        if self.is_packed:
            self.prefix_lengths = [prefix.length if prefix else 0 for prefix in prefixes]
            self.has_infix = any(prefix is not None and prefix.is_infix for prefix in prefixes)
            self.made_tensors = [stack_slots(base.shape, prefixes).to(base.device)]
            self.leaves = [_make_leaf(one) for one in self.made_tensors]
        else:
            self.made_tensors = [tensor for prefix in prefixes if prefix for tensor in prefix.tensors.values()]
            self.leaves = [_make_leaf(one) for one in self.made_tensors]
            leaves = iter(self.leaves)
            self.padded_deltas = [
                Delta(
                    prefix=Prefix({name: next(leaves) for name in prefix.tensors}) if prefix else None,
                    weights=None if delta.weights is None else delta.weights.to(base.device),
                )
                for prefix, delta in zip(prefixes, deltas, strict=True)
            ]

    def backward(self, rows: Sequence[TrainingExample]) -> LossSums:
        """Run one pass, add its gradients to the leaves, and return its sums."""
        with self._prepare_inputs(rows) as inputs:
            total, sums = self._forward(inputs, rows)
            total.backward()  # type: ignore[no-untyped-call]
        return sums

    @torch.no_grad()
    def compute_sums(self, rows: Sequence[TrainingExample]) -> LossSums:
        """Run one pass without gradients and return its sums."""
        with self._prepare_inputs(rows) as inputs:
            return self._forward(inputs, rows)[1]

    def propagate_gradients(self) -> None:
        """Carry the gradients of the leaves to the parameters from which the deltas were computed."""
        pairs = [
            (made, leaf.grad)
            for made, leaf in zip(self.made_tensors, self.leaves, strict=True)
            if leaf.grad is not None
        ]
        if pairs:
            torch.autograd.backward(*zip(*pairs, strict=True))  # type: ignore[arg-type]

    def clear_gradients(self) -> None:
        """Drop the gradients of the leaves, to run the passes of the step again."""
        for leaf in self.leaves:
            leaf.grad = None

    def _forward(self, inputs: _ForwardInputs, rows: Sequence[TrainingExample]) -> tuple[Tensor, LossSums]:
        model, device = self.base.model, self.base.device
        share_M = torch.tensor([row.token_weight for row in rows], device=device)[inputs.example_index_M]
        if self.use_fused_loss:
            head = model.get_output_embeddings()
            with capture_head_inputs(model, inputs.kept_BT) as hidden:
                model(**inputs.model_inputs)
            total, each_M = compute_chunked_cross_entropy(hidden[0], head.weight, head.bias, inputs.target_M, share_M)
        else:
            with keep_logits_at(model, inputs.kept_BT):
                logits_MV = model(**inputs.model_inputs).logits
            total, each_M = compute_cross_entropy(logits_MV, inputs.target_M, share_M)
        tenant_index_M = torch.tensor([row.tenant_index for row in rows], device=device)[inputs.example_index_M]
        nats_U = torch.zeros(self.tenant_count, dtype=torch.float64, device=device)
        count_U = torch.bincount(tenant_index_M, minlength=self.tenant_count)
        return total, LossSums(add_rows(nats_U, tenant_index_M, each_M.double()), count_U)

    def _prepare_inputs(self, rows: Sequence[TrainingExample]) -> AbstractContextManager[_ForwardInputs]:
        return self._pack_inputs(rows) if self.is_packed else self._pad_inputs(rows)

    @contextmanager
    def _pack_inputs(self, rows: Sequence[TrainingExample]) -> Iterator[_ForwardInputs]:
        device, model = self.base.device, self.base.model

        def to_tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(device)

        pairs = [row.pair for row in rows]
        ids = np.fromiter(chain.from_iterable(chain(pair.source_ids, pair.target_ids) for pair in pairs), np.int64)
        sizes_B2 = count_pair_tokens(pairs)
        lengths_B = sizes_B2.sum(axis=1)
        is_target = np.tile([False, True], len(pairs)).repeat(sizes_B2.flatten())
        for end, pair in zip(lengths_B.cumsum().tolist(), pairs, strict=True):
            if pair.target_mask is not None:
                is_target[end - len(pair.target_mask) : end] = pair.target_mask
        is_input = np.ones_like(is_target)
        is_input[lengths_B.cumsum() - 1] = False  # a row's last token predicts nothing
        kept_N = np.append(is_target[1:], False)[is_input]
        starts, tenant_indices = (sizes_B2[:, 0] - 1).tolist(), [row.tenant_index for row in rows]
        infix_starts = starts if self.has_infix else None
        layout = PackedLayout.from_lengths(
            (lengths_B - 1).tolist(), tenant_indices, self.prefix_lengths, starts=infix_starts, device=device
        )
        with pack_rows(model, self.leaves[0], layout, starts=starts):
            yield _ForwardInputs(
                {
                    "input_ids": to_tensor(ids[is_input])[None],
                    "position_ids": layout.position_N[None],
                    "use_cache": False,
                },
                to_tensor(kept_N)[None],
                to_tensor(ids[is_target]),
                to_tensor(np.arange(len(rows)).repeat([pair.loss_tokens for pair in pairs])),
            )

    @contextmanager
    def _pad_inputs(self, rows: Sequence[TrainingExample]) -> Iterator[_ForwardInputs]:
        base = self.base
        pairs = [row.pair for row in rows]
        batch = collate(pairs, base.pad_id, encoder_decoder=base.is_encoder_decoder)
        labels_BT = batch.labels_BT.to(base.device)
        inputs = {
            "input_ids": batch.input_ids_BT.to(base.device),
            "attention_mask": batch.attention_mask_BT.to(base.device),
            "use_cache": False,
        }
        if base.is_encoder_decoder:
            kept_BT = labels_BT != IGNORED_LABEL
            target_M = labels_BT[kept_BT]
            inputs["decoder_input_ids"] = _shift_right(labels_BT, base.decoder_start_id, base.pad_id)
        else:
            kept_BT = torch.zeros_like(labels_BT, dtype=torch.bool)
            kept_BT[:, :-1] = labels_BT[:, 1:] != IGNORED_LABEL
            target_M = labels_BT[:, 1:][kept_BT[:, :-1]]
        with apply_deltas(base, [self.padded_deltas[row.tenant_index] for row in rows], batch.starts_B):
            yield _ForwardInputs(inputs, kept_BT, target_M, kept_BT.nonzero()[:, 0])


def _make_leaf(tensor: Tensor) -> Tensor:
    """Return a detached view that collects gradients, so that `backward` of a pass stops there."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _shift_right(labels_BT: Tensor, start_id: int, pad_id: int) -> Tensor:
    """Return the decoder's inputs: the start token, then every label except the last."""
    start_B1 = labels_BT.new_full((len(labels_BT), 1), start_id)
    ids_BT = torch.cat([start_B1, labels_BT[:, :-1]], dim=1)
    return ids_BT.masked_fill(ids_BT == IGNORED_LABEL, pad_id)
