"""Restrict a model's output layer to chosen positions: its inputs without logits, or its logits.

Knows models; does not know losses.

Shapes: B rows, T tokens, N chosen positions, C hidden size, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from components.model.base.quantization import is_full_tensor

_LARGE_LOGIT_SPREAD = 100.0
"""Standard deviation of probe logits, large enough that any cap on logits would change them."""
_plain_by_model: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


@contextmanager
def capture_head_inputs(model: Any, kept_BT: Tensor) -> Iterator[list[Tensor]]:
    """Inside, a forward appends the output layer's inputs [N, C] at the kept positions, and returns empty logits."""
    captured: list[Tensor] = []

    kept_N = kept_BT.flatten().nonzero()[:, 0]

    def gather(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        captured.append(args[0].flatten(0, 1).index_select(0, kept_N.to(args[0].device)))
        return (captured[-1][:0],)

    with _hook_head_inputs(model, gather):
        yield captured


@contextmanager
def keep_logits_at(model: Any, kept_BT: Tensor) -> Iterator[None]:
    """Inside, the logits are [N, V], of the kept positions, after any scaling or capping by the model."""
    kept_N = kept_BT.flatten().nonzero()[:, 0]

    def select(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0].flatten(0, 1).index_select(0, kept_N.to(args[0].device)),)

    with _hook_head_inputs(model, select):
        yield


def has_plain_head(model: Any) -> bool:
    """Whether logits are the output layer's product only, without scale or cap. Probed once per model and cached."""
    if model not in _plain_by_model:
        _plain_by_model[model] = _probe_plain_head(model)
    return _plain_by_model[model]


@torch.no_grad()
def _probe_plain_head(model: Any) -> bool:
    """Whether the layer computes the plain product, and the model returns the layer's output, however large."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or not is_full_tensor(head.weight) or head.weight.device != model.device:
        return False
    ids = torch.arange(2, device=model.device)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    probe = torch.randn(1, 2, head.out_features, generator=torch.Generator().manual_seed(0))
    large = (_LARGE_LOGIT_SPREAD * probe).to(model.device, model.dtype)
    products: list[Tensor] = []

    def check(_head: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own = nn.functional.linear(args[0], head.weight, head.bias)
        difference = (output - own).float().square().mean().sqrt()
        products.append(difference <= torch.finfo(model.dtype).eps ** 0.5 * own.float().std())
        return large.expand_as(output)

    handle = head.register_forward_hook(check)
    try:
        logits = model(**inputs).logits
    finally:
        handle.remove()
    return len(products) == 1 and bool(products[0]) and logits.shape == large.shape and bool((logits == large).all())


@contextmanager
def _hook_head_inputs(model: Any, hook: Any) -> Iterator[None]:
    handle = model.get_output_embeddings().register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
