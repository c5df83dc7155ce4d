"""Check that a quantised base passes gradients on to what comes before its layers: some kernels only compute forwards.

Knows models; does not know prefixes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.attention_sites import run_probe
from components.model.base.load import Base

_PROBE_TOKENS = 3


def check_gradients(base: Base) -> None:
    """Check one tiny backward of a quantised base; other bases are not checked.

    Raises:
        BaseModelError: a gradient of the token embeddings is missing, zero or not finite.
    """
    if not base.quantization:
        return
    model = base.model
    outputs: list[Tensor] = []

    def track(_module: Any, _args: Any, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    ids_BT = torch.full((1, _PROBE_TOKENS), base.eos_id, device=base.device)
    inputs = {"decoder_input_ids": ids_BT} if base.is_encoder_decoder else {}
    weight = model.get_input_embeddings().weight
    # An encoder-decoder model may have several embeddings with the same weight, and any model an output layer.
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding) and module.weight is weight]
    handles = [module.register_forward_hook(track) for module in embeddings]
    try:
        with torch.enable_grad():
            logits = run_probe(model, {"input_ids": ids_BT, "use_cache": False, **inputs}).logits.float()
            if logits.requires_grad:
                logits.square().sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    if not outputs or not all(_is_usable(output.grad) for output in outputs):
        fix = "train on another base, such as the full one, and set base.interchangeable where the prefixes are served"
        got = f"none in {base.name} ({base.quantization}): its kernels compute no gradient"
        raise BaseModelError("gradients through the layers of the base, for training", got, fix)


def _is_usable(grad: Tensor | None) -> bool:
    return grad is not None and bool(grad.isfinite().all()) and bool(grad.any())
