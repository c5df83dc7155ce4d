"""Check that PrefixFleet and `peft` compute the same loss and gradient for one prefix and one batch in float32.

Shapes: L layers, 2 for key and value, H heads, P prefix slots, D head size; O = L * 2 * H * D, as peft orders them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from harness.alternating_runs import WaitForTurn
from torch import Tensor

from components.config import BaseConfig, TrainConfig
from components.data.batches import IGNORED_LABEL
from components.data.schema import Example
from components.model.base.load import load_base
from components.model.trainable_delta import TrainableDelta
from contenders import peft_training, prefixfleet_training

LOSS_TOLERANCE = 1e-4
"""Largest difference of the losses, in nats per target token."""
GRADIENT_TOLERANCE = 1e-3
"""Largest norm of the gradients' difference, as a share of the gradient's norm."""


def check_agreement(
    wait_for_turn: WaitForTurn, folder: Path, config: TrainConfig, examples: Sequence[Example]
) -> dict[str, Any]:
    """Return both losses and the gradients' relative difference; exit if they differ by more than rounding errors."""
    wait_for_turn()
    setting = peft_training.PeftSetting()
    model, tokenizer = peft_training.load_model(folder, setting)
    pairs = peft_training.encode_pairs(tokenizer, examples, config.prefix_length)
    base = load_base(BaseConfig(path=str(folder)))
    module = TrainableDelta(base, config, "", None, [])
    prefix_L2HPD = next(module.parameters())

    model = peft_training.add_prefix(model.to(base.device), config.prefix_length)
    theirs_PO = peft_training.find_prefix_values(model)
    with torch.no_grad():
        theirs_PO.copy_(_to_peft_layout(prefix_L2HPD))
    inputs = {name: tensor.to(base.device) for name, tensor in peft_training.make_inputs(pairs, base.pad_id).items()}
    their_loss = model.train()(**inputs).loss
    their_loss.backward()

    our_loss, count, gradient_L2HPD = prefixfleet_training.compute_loss_and_gradient(base, module, pairs)

    targets = int((inputs["labels"][:, 1:] != IGNORED_LABEL).sum())
    gradient_PO = prefixfleet_training.read_gradient(theirs_PO)
    difference = float((_to_peft_layout(gradient_L2HPD) - gradient_PO).norm() / gradient_PO.norm())
    losses = our_loss, float(their_loss.detach())
    if abs(losses[0] - losses[1]) > LOSS_TOLERANCE or difference > GRADIENT_TOLERANCE or targets != count:
        sys.exit(
            f"PrefixFleet and peft must compute the same: losses {losses[0]:.6f} and {losses[1]:.6f} over {count} and "
            f"{targets} target tokens, relative difference of the gradients {difference:.1e}"
        )
    return {"losses": losses, "gradient": difference, "targets": targets}


def _to_peft_layout(values_L2HPD: Tensor) -> Tensor:
    """Return the same values as [P, O]."""
    return values_L2HPD.permute(3, 0, 1, 2, 4).flatten(1)
