"""Scale random weights up, so that a base's logits differ as clearly as a trained one's. Knows only GPT-2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_NORM_SCALE = 8.0
"""Raises the standard deviation of the logits of random weights from 0.6 to 4.4."""

_MATRIX_SCALE = 12.0


def sharpen_logits(model: Any) -> None:
    """Scale the last norm up, and set the end token's embedding to zero, so that its logit is low."""
    with torch.no_grad():
        model.transformer.ln_f.weight.mul_(_NORM_SCALE)
        model.transformer.wte.weight[model.config.eos_token_id] = 0.0


def scale_matrices(model: Any) -> None:
    """Scale every matrix up, so that prefixes change what a tiny base writes."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(_MATRIX_SCALE)


def rewrite_base(folder: Path, change: Callable[[Any], None]) -> None:
    """Apply a change to the base that is saved in a folder."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder)
    change(model)
    model.save_pretrained(folder)
