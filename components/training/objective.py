"""The loss of many tenants' rows in one pass: negative log likelihood of the target tokens, and of nothing else.

Two ways that give the same but for rounding: rows end to end, which decoder-only bases take (no padding, and every
tenant's slots made once), and rows padded side by side, which every base takes. Knows rows and what is on top of the
base. Does not know optimizers or steps.

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

from components.config import EngineConfig
from components.data.batches import IGNORED, collate
from components.data.pairs import Encoded, sizes_of
from components.model.base.load import Base
from components.model.base.output_head import head_inputs, logits_only_at, plain_head
from components.model.delta import Delta, applied
from components.model.packing import packable, packed, slots_of
from components.model.packing.attention import attend, plain
from components.model.packing.layout import Layout
from components.model.prefix.prefix import Prefix
from components.training.cross_entropy import chunked, whole

_DEFAULT = EngineConfig()


@dataclass(frozen=True, slots=True)
class Row:
    """One pair, whose tenant it is of, and what each of its target tokens counts in the total."""

    owner: int
    pair: Encoded
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Sums:
    """Every tenant's part of some rows, [U] each: nats (float64) and target tokens."""

    nats_U: Tensor
    count_U: Tensor

    @classmethod
    def of_nothing(cls, tenants: int, device: torch.device) -> "Sums":
        """The sums of no rows."""
        return cls(
            torch.zeros(tenants, dtype=torch.float64, device=device),
            torch.zeros(tenants, dtype=torch.long, device=device),
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.nats_U + other.nats_U, self.count_U + other.count_U)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a forward takes, where its logits are wanted, the tokens wanted there, and whose row each is of."""

    model: dict[str, Any]
    kept_BT: Tensor
    target_M: Tensor
    row_M: Tensor


class Deltas:
    """What U tenants have on top of the base in one step, made once however many passes follow.

    Each `backward` of a pass adds its gradients; `finish`, once, brings them to the tenants' parameters.
    """

    def __init__(self, base: Base, deltas: Sequence[Delta], engine: EngineConfig = _DEFAULT) -> None:
        """All of them with the same weights, and infixes only among themselves."""
        self.own_weights = deltas[0].weights is not None
        self.base, self.tenants = base, len(deltas)
        self.attention = attend if engine.fused_attention else plain
        self.cut = engine.cut_last_block
        self.end_to_end = engine.packing and not self.own_weights and packable(base.model)
        self.fused_loss = engine.fused_loss and not self.own_weights and plain_head(base.model)
        self.prefixes = prefixes = [delta.keys_and_values(base) for delta in deltas]
        if self.end_to_end:
            self.lengths = [prefix.length if prefix else 0 for prefix in prefixes]
            self.infix = any(prefix is not None and prefix.is_infix for prefix in prefixes)
            self.made = [slots_of(base.shape, prefixes).to(base.device)]
            self.leaves = [_leaf(one) for one in self.made]
        else:
            self.made = [tensor for prefix in prefixes if prefix for tensor in prefix.tensors.values()]
            self.leaves = [_leaf(one) for one in self.made]
            leaves = iter(self.leaves)
            self.rows = [
                Delta(
                    prefix=Prefix({name: next(leaves) for name in prefix.tensors}) if prefix else None,
                    weights=delta.weights,
                )
                for prefix, delta in zip(prefixes, deltas, strict=True)
            ]

    def backward(self, rows: Sequence[Row]) -> Sums:
        """One pass, its gradients, and its sums."""
        with self._inputs(rows) as inputs:
            total, sums = self._forward(inputs, rows)
            total.backward()  # type: ignore[no-untyped-call]
        return sums

    @torch.no_grad()
    def measure(self, rows: Sequence[Row]) -> Sums:
        """The sums of one pass, without gradients."""
        with self._inputs(rows) as inputs:
            return self._forward(inputs, rows)[1]

    def finish(self) -> None:
        """Bring what the passes left to the parameters that made the slots."""
        found = [(made, leaf.grad) for made, leaf in zip(self.made, self.leaves, strict=True) if leaf.grad is not None]
        if found:
            torch.autograd.backward(*zip(*found, strict=True))  # type: ignore[arg-type]

    def forget(self) -> None:
        """Drop what the passes left since `finish`, to begin again."""
        for leaf in self.leaves:
            leaf.grad = None

    def _forward(self, inputs: _Inputs, rows: Sequence[Row]) -> tuple[Tensor, Sums]:
        model, device = self.base.model, self.base.device
        share_M = torch.tensor([row.share for row in rows], device=device)[inputs.row_M]
        if self.fused_loss:
            head = model.get_output_embeddings()
            with head_inputs(model, inputs.kept_BT) as found:
                model(**inputs.model)
            total, each_M = chunked(found[0], head.weight, head.bias, inputs.target_M, share_M)
        else:
            with logits_only_at(model, inputs.kept_BT):
                logits_MV = model(**inputs.model).logits
            total, each_M = whole(logits_MV, inputs.target_M, share_M)
        owner_M = torch.tensor([row.owner for row in rows], device=device)[inputs.row_M]
        nats_U = torch.zeros(self.tenants, dtype=torch.float64, device=device)
        counts = torch.bincount(owner_M, minlength=self.tenants)
        return total, Sums(nats_U.index_add_(0, owner_M, each_M.double()), counts)

    def _inputs(self, rows: Sequence[Row]) -> AbstractContextManager[_Inputs]:
        return self._packed(rows) if self.end_to_end else self._padded(rows)

    @contextmanager
    def _packed(self, rows: Sequence[Row]) -> Iterator[_Inputs]:
        device, model = self.base.device, self.base.model

        def placed(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(device)

        pairs = [row.pair for row in rows]
        ids = np.fromiter(chain.from_iterable(chain(pair.source_ids, pair.target_ids) for pair in pairs), np.int64)
        sizes_B2 = sizes_of(pairs)
        lengths_B = sizes_B2.sum(axis=1)
        wanted = np.tile([False, True], len(pairs)).repeat(sizes_B2.flatten())
        read = np.ones_like(wanted)
        read[lengths_B.cumsum() - 1] = False  # a row's last token predicts nothing
        kept_N = np.append(wanted[1:], False)[read]
        starts, owners = (sizes_B2[:, 0] - 1).tolist(), [row.owner for row in rows]
        places = starts if self.infix else None
        layout = Layout.of((lengths_B - 1).tolist(), owners, self.lengths, starts=places, device=device)
        with packed(model, self.leaves[0], layout, attention=self.attention, starts=starts if self.cut else None):
            yield _Inputs(
                {"input_ids": placed(ids[read])[None], "position_ids": layout.position_N[None], "use_cache": False},
                placed(kept_N)[None],
                placed(ids[wanted]),
                placed(np.arange(len(rows)).repeat(sizes_B2[:, 1])),
            )

    @contextmanager
    def _padded(self, rows: Sequence[Row]) -> Iterator[_Inputs]:
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
            kept_BT = labels_BT != IGNORED
            target_M = labels_BT[kept_BT]
            inputs["decoder_input_ids"] = _shifted(labels_BT, base.decoder_start_id, base.pad_id)
        else:
            kept_BT = torch.zeros_like(labels_BT, dtype=torch.bool)
            kept_BT[:, :-1] = labels_BT[:, 1:] != IGNORED
            target_M = labels_BT[:, 1:][kept_BT[:, :-1]]
        with applied(base, [self.rows[row.owner] for row in rows], batch.starts_B):
            yield _Inputs(inputs, kept_BT, target_M, kept_BT.nonzero()[:, 0])


def _leaf(tensor: Tensor) -> Tensor:
    """The same values as a leaf of the passes' graphs, so that what made them is gone back through once."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _shifted(labels_BT: Tensor, start_id: int, pad_id: int) -> Tensor:
    """What the decoder reads: the start token, then every label but the last."""
    start_B1 = labels_BT.new_full((len(labels_BT), 1), start_id)
    ids_BT = torch.cat([start_B1, labels_BT[:, :-1]], dim=1)
    return ids_BT.masked_fill(ids_BT == IGNORED, pad_id)
