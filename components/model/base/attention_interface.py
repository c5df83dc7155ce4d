"""Take a model's attention over through transformers' attention interface, for as long as a `with` lasts.

Knows the interface; does not know prefixes, masks or what is computed instead.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from components.model.base.attention_sites import make_unsupported_base_error, use_attention_implementation

ATTENTION_WITH_MASK, ATTENTION_WITHOUT_MASK = "prefixfleet", "prefixfleet-bare"
"""The registered names: with transformers' whole mask, and without any."""
_overrides: "dict[nn.Module, AttentionOverride]" = {}


class AttentionOverride(Protocol):
    """Whoever computes a model's attention."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """The output [B, T, H, D] of one attention call, of query [B, H, T, D], key and value [B, K, S, D]."""


@contextmanager
def override_attention(
    model: Any, modules: Iterable[nn.Module], override: AttentionOverride, name: str
) -> Iterator[None]:
    """Inside, `override` computes the attention of every one of `modules`, which are all that `model` has.

    One at a time on a model, from one thread.

    Raises:
        BaseModelError: the model does not let its attention be replaced; or, in a forward, a module is not among those.
    """
    modules = list(modules)
    if any(module in _overrides for module in modules):
        raise RuntimeError("attention taken over inside a `with` that has taken it over already")
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
        attends = _overrides.get(module)
        if attends is None:
            raise make_unsupported_base_error(module, "an attention call without its prefix")
        return attends.attend(module, query, key, value, attention_mask, **kwargs), None

    def whole_mask(*args: Any, **kwargs: Any) -> Any:
        return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})

    for name in (ATTENTION_WITH_MASK, ATTENTION_WITHOUT_MASK):
        AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(
        ATTENTION_WITH_MASK, whole_mask
    )  # transformers makes no mask for a name that has none
