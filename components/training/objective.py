"""The loss of a delta on a batch: negative log likelihood of the target tokens, and of nothing else.

Knows batches and what is applied to the base. Does not know optimizers or steps.

Shapes: B batch rows, T tokens, N target tokens of the batch, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from components.data.batches import IGNORED, Batch
from components.model.base import Base
from components.model.delta import Delta, applied
from components.model.prefix import Prefix


def target_loss(base: Base, delta: Delta | Prefix | None, batch: Batch) -> tuple[Tensor, int]:
    """Summed negative log likelihood (nats, float32) of the batch's target tokens under `delta`, and their number.

    The vocabulary's logits are computed at the positions that predict a target token and nowhere else.
    """
    with target_loss_of(base, delta, batch) as loss:
        return loss


@contextmanager
def target_loss_of(base: Base, delta: Delta | Prefix | None, batch: Batch) -> Iterator[tuple[Tensor, int]]:
    """`target_loss` with the delta still applied inside, as gradient checkpointing wants it for `backward`."""
    labels_BT = batch.labels_BT.to(base.device)
    inputs = {
        "input_ids": batch.input_ids_BT.to(base.device),
        "attention_mask": batch.attention_mask_BT.to(base.device),
        "use_cache": False,
    }
    if base.is_encoder_decoder:
        predicts_BT = labels_BT != IGNORED
        targets_N = labels_BT[predicts_BT]
        inputs["decoder_input_ids"] = _shifted(labels_BT, base.decoder_start_id, base.pad_id)
    else:
        predicts_BT = torch.zeros_like(labels_BT, dtype=torch.bool)
        predicts_BT[:, :-1] = labels_BT[:, 1:] != IGNORED
        targets_N = labels_BT[:, 1:][predicts_BT[:, :-1]]
    with applied(base, [delta] * len(labels_BT), batch.starts_B):
        with _logits_only_at(base.model, predicts_BT):
            logits_NV = base.model(**inputs).logits
        yield torch.nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum"), len(targets_N)


@torch.no_grad()
def mean_loss(base: Base, delta: Delta | Prefix | None, batches: Sequence[Batch]) -> float:
    """Mean negative log likelihood (nats a target token) over all batches, without gradients."""
    losses = [target_loss(base, delta, batch) for batch in batches]
    return sum(float(loss) for loss, _ in losses) / sum(count for _, count in losses)


def _shifted(labels_BT: Tensor, start_id: int, pad_id: int) -> Tensor:
    """What the decoder reads: the start token, then every label but the last."""
    start_B1 = labels_BT.new_full((len(labels_BT), 1), start_id)
    ids_BT = torch.cat([start_B1, labels_BT[:, :-1]], dim=1)
    return ids_BT.masked_fill(ids_BT == IGNORED, pad_id)


@contextmanager
def _logits_only_at(model: Any, kept_BT: Tensor) -> Iterator[None]:
    """Give the output layer the kept positions alone; what a model does to its logits afterwards still happens."""

    def gather(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][kept_BT],)

    handle = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()
