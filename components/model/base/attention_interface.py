"""Replace a model's attention through transformers' attention interface, for the duration of a `with` block.

Knows the interface; does not know prefixes, masks or the replacement's computation.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from components.model.base.attention_sites import make_unsupported_base_error, use_attention_implementation

ATTENTION_WITH_MASK, ATTENTION_WITHOUT_MASK = "prefixfleet", "prefixfleet-bare"
"""Registered names of the attention function: with transformers' complete mask, and without a mask."""
_overrides: "dict[nn.Module, AttentionOverride]" = {}


class AttentionOverride(Protocol):
    """Computes the attention of a model's modules."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Return the output [B, T, H, D] of one attention call: query [B, H, T, D], key and value [B, K, S, D]."""


@contextmanager
def override_attention(
    model: Any, modules: Iterable[nn.Module], override: AttentionOverride, name: str
) -> Iterator[None]:
    """Inside, `override` computes the attention of `modules`, which must be all attention modules of `model`.

    A model takes one override at a time, and is used from one thread.

    Raises:
        BaseModelError: the model's attention cannot be replaced; or, in a forward, an attention module is not in
            `modules`.
        RuntimeError: a module of `modules` has an override already.
    """
    modules = list(modules)
    if any(module in _overrides for module in modules):
        raise RuntimeError("the attention of this model is overridden already")
    _register_attention()
    with use_attention_implementation(model, name):
        _overrides.update(dict.fromkeys(modules, override))
        try:
            yield
        finally:
            for module in modules:
                _overrides.pop(module, None)


def _register_attention() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        override = _overrides.get(module)
        if override is None:
            raise make_unsupported_base_error(module, "an attention call of a module that has no prefix")
        return override.attend(module, query, key, value, attention_mask, **kwargs), None

    def whole_mask(*args: Any, **kwargs: Any) -> Any:
        return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})

    for name in (ATTENTION_WITH_MASK, ATTENTION_WITHOUT_MASK):
        AttentionInterface.register(name, attention)
    # transformers passes no mask to a name without a registered mask function, as ATTENTION_WITHOUT_MASK.
    AttentionMaskInterface.register(ATTENTION_WITH_MASK, whole_mask)
