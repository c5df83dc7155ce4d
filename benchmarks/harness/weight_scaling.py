"""Random weights scaled up, so that a base chooses its words as clearly as a trained one. Knows GPT-2 alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_NORM_SCALE = 8.0
"""Gives logits of random weights a standard deviation of 4.4, where it would be 0.6."""

_MATRIX_SCALE = 12.0


def sharpen_logits(model: Any) -> None:
    """Scale the last norm up, and let nothing speak for the end: its embedding is zero."""
    with torch.no_grad():
        model.transformer.ln_f.weight.mul_(_NORM_SCALE)
        model.transformer.wte.weight[model.config.eos_token_id] = 0.0


def scale_matrices(model: Any) -> None:
    """Scale every matrix up, so that prefixes show in what a tiny base writes."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(_MATRIX_SCALE)


def rewrite_base(folder: Path, change: Callable[[Any], None]) -> None:
    """Do this to the base that is saved in a folder."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder)
    change(model)
    model.save_pretrained(folder)
