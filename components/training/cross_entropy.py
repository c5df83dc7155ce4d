"""Cross-entropy of an output layer, computed in chunks: never holds all logits, and computes the gradient in `forward`.

Knows tensors only.

Shapes: N positions, C hidden size, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

_LOGITS_AT_ONCE = 2**23


def compute_chunked_cross_entropy(
    hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, target_N: Tensor, share_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the negative log likelihood of the targets: the sum weighted by `share_N`, and each one, [N], detached.

    In float32, in nats. The layer is frozen: only `hidden_NC` gets a gradient. The gradient of a logit is
    share * (p - [its token is the target]) with softmax p, computed while p is in memory (Wijmans et al. 2024, Cut
    Cross-Entropy).
    """
    total, each_N = _ChunkedCrossEntropy.apply(hidden_NC, weight_VC, bias_V, target_N, share_N)  # type: ignore[no-untyped-call]
    return total, each_N


def compute_cross_entropy(logits_NV: Tensor, target_N: Tensor, share_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same from logits."""
    each_N = cross_entropy(logits_NV.float(), target_N, reduction="none")
    return (each_N * share_N).sum(), each_N.detach()


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, target_N: Tensor, share_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        size = max(1, _LOGITS_AT_ONCE // len(weight_VC))
        needs_gradient = ctx.needs_input_grad[0]
        each_N = torch.empty(len(hidden_NC), device=hidden_NC.device)
        gradient_NC = torch.empty_like(hidden_NC) if needs_gradient else None
        for start in range(0, len(hidden_NC), size):
            part = slice(start, start + size)
            target_M1 = target_N[part, None]
            log_MV = torch.log_softmax(linear(hidden_NC[part], weight_VC, bias_V), dim=-1, dtype=torch.float32)
            each_N[part] = -log_MV.gather(1, target_M1)[:, 0]
            if gradient_NC is not None:
                chance_MV = log_MV.exp_()
                chance_MV.scatter_add_(1, target_M1, chance_MV.new_full(target_M1.shape, -1.0))
                gradient_NC[part] = chance_MV.mul_(share_N[part, None]).to(weight_VC.dtype) @ weight_VC
        ctx.mark_non_differentiable(each_N)
        ctx.save_for_backward(gradient_NC)
        return (each_N * share_N).sum(), each_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_NC,) = ctx.saved_tensors
        return gradient_NC * grads[0].to(gradient_NC.dtype), None, None, None, None
