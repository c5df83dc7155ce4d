"""Cross-entropy of an output layer, computed in chunks: never holds all logits, and computes the gradient in `forward`.

Knows tensors only.

Shapes: N positions, C hidden size, V vocabulary; R rows (positions) and W words of a chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

_CPU_CHUNK, _GPU_CHUNK = (512, 4096), (4096, 16_384)
"""R and W. On a CPU a chunk of logits stays in the cache, and matrix libraries are slow if one side is very long."""
_LOWEST = torch.finfo(torch.float32).min


def compute_chunked_cross_entropy(
    hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, target_N: Tensor, share_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the negative log likelihood of the targets: the sum weighted by `share_N`, and each one, [N], detached.

    In float32, in nats. The layer is frozen: only `hidden_NC` gets a gradient. The gradient of a logit is
    share * (p - [its token is the target]) with softmax p, computed while the logit is in memory (Wijmans et al. 2024,
    Cut Cross-Entropy); the largest logit so far scales the sums of earlier chunks (Milakov & Gimelshein 2018).
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
        rows, words = _CPU_CHUNK if hidden_NC.device.type == "cpu" else _GPU_CHUNK
        each_N = torch.empty(len(hidden_NC), device=hidden_NC.device)
        gradient_NC = torch.empty_like(hidden_NC) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden_NC), rows):
            part = slice(start, start + rows)
            each_N[part], gradient_RC = _compute_rows(
                hidden_NC[part], weight_VC, bias_V, target_N[part], words, needs_gradient=gradient_NC is not None
            )
            if gradient_NC is not None:
                gradient_NC[part] = gradient_RC * share_N[part, None]
        ctx.mark_non_differentiable(each_N)
        ctx.save_for_backward(gradient_NC)
        return (each_N * share_N).sum(), each_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_NC,) = ctx.saved_tensors
        return gradient_NC * grads[0].to(gradient_NC.dtype), None, None, None, None


def _compute_rows(
    hidden_RC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, target_R: Tensor, words: int, *, needs_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Return the negative log likelihoods [R] and their gradients [R, C] (zeros if not needed), in float32.

    The target's part of the sums over the vocabulary is added at the end: in 16 bits, p - 1 of a likely target is 0.
    """
    target_R1, gradient_RC = target_R[:, None], torch.zeros_like(hidden_RC, dtype=torch.float32)
    max_R1, sum_R1, target_logit_R1 = gradient_RC.new_tensor([_LOWEST, 0.0, 0.0])[:, None, None].repeat(
        1, len(hidden_RC), 1
    )
    for start in range(0, len(weight_VC), words):
        weight_WC = weight_VC[start : start + words]
        logit_RW = linear(hidden_RC, weight_WC, None if bias_V is None else bias_V[start : start + words]).float()
        index_R1 = (target_R1 - start).clamp(0, len(weight_WC) - 1)
        is_target_R1, logit_R1 = index_R1 == target_R1 - start, logit_RW.gather(1, index_R1)
        target_logit_R1 = torch.where(is_target_R1, logit_R1, target_logit_R1)
        logit_RW.scatter_(1, index_R1, logit_R1.masked_fill(is_target_R1, -torch.inf))
        max_before_R1, max_R1 = max_R1, torch.maximum(max_R1, logit_RW.amax(dim=1, keepdim=True))
        scale_R1 = (max_before_R1 - max_R1).exp_()
        logit_RW.sub_(max_R1).exp_()
        sum_R1 = sum_R1 * scale_R1 + logit_RW.sum(dim=1, keepdim=True)
        if needs_gradient:
            _add_product(gradient_RC.mul_(scale_R1), logit_RW, weight_WC)
    max_before_R1, max_R1 = max_R1, torch.maximum(max_R1, target_logit_R1)
    scale_R1 = (max_before_R1 - max_R1).exp_()
    others_R1 = sum_R1 * scale_R1
    sum_R1 = others_R1 + (target_logit_R1 - max_R1).exp()
    if needs_gradient:
        gradient_RC.mul_(scale_R1).sub_(others_R1 * weight_VC[target_R]).div_(sum_R1)
    return (sum_R1.log() + max_R1 - target_logit_R1)[:, 0], gradient_RC


def _add_product(sum_RC: Tensor, chance_RW: Tensor, weight_WC: Tensor) -> None:
    if weight_WC.dtype == sum_RC.dtype:
        sum_RC.addmm_(chance_RW, weight_WC)
    else:
        sum_RC.add_(chance_RW.to(weight_WC.dtype) @ weight_WC)
