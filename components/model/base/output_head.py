"""What goes into a model's output layer, at chosen positions alone, without computing a logit.

Knows models; does not know losses.

Shapes: B rows, T tokens, N chosen positions, C hidden size, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_LARGE_LOGIT_SPREAD = 100.0
"""Spread of logits that a cap, however high, would change."""
_plain_by_model: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


@contextmanager
def capture_head_inputs(model: Any, kept_BT: Tensor) -> Iterator[list[Tensor]]:
    """Inside, a forward appends the output layer's inputs [N, C] at the kept positions, and its logits have no row."""
    found: list[Tensor] = []

    def gather(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        found.append(args[0][kept_BT])
        return (found[-1][:0],)

    with _hook_head_inputs(model, gather):
        yield found


@contextmanager
def keep_logits_at(model: Any, kept_BT: Tensor) -> Iterator[None]:
    """Inside, the logits are [N, V]: of the kept positions. What a model does to them afterwards still happens."""
    with _hook_head_inputs(model, lambda _head, args: (args[0][kept_BT],)):
        yield


def has_plain_head(model: Any) -> bool:
    """Whether logits are the output layer's product and nothing else (no scale, no cap); found out once, by trying."""
    if model not in _plain_by_model:
        _plain_by_model[model] = _probe_plain_head(model)
    return _plain_by_model[model]


@torch.no_grad()
def _probe_plain_head(model: Any) -> bool:
    """Whether the layer gives the product, and the model gives what the layer gives, however large that is."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        return False
    ids = torch.arange(2, device=model.device)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    probe = torch.randn(1, 2, head.out_features, generator=torch.Generator().manual_seed(0))
    large = (_LARGE_LOGIT_SPREAD * probe).to(model.device, model.dtype)
    products: list[Tensor] = []

    def note(_head: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own = nn.functional.linear(args[0], head.weight, head.bias)
        apart = (output - own).float().square().mean().sqrt()
        products.append(apart <= torch.finfo(model.dtype).eps ** 0.5 * own.float().std())
        return large.expand_as(output)

    handle = head.register_forward_hook(note)
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
